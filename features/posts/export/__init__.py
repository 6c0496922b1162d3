"""Gives posts to others: all of them as one table, small copies of their images for pages."""
