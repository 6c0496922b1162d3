"""Frozen encoders: found by name, opened and run; one file per source of encoders."""
