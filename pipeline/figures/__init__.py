"""Figures of stored runs by matplotlib, and the page that shows them by jinja2."""
