"""Trained heads on disk, and what they predict."""
