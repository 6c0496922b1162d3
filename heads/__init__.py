"""Stage two's models: fusion heads, one idea a file, and their registry."""
