"""Frozen encoders: found by name, opened, run; one source of encoders a file."""
