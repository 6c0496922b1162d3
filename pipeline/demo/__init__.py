"""The demo: a small corpus of drawn pictures and written texts."""
