"""Training of many heads of one architecture at once."""
