"""The models of stage two: one fusion head per file, and their registry."""
