"""Curves, settings and scores of trainings, logged for other programs while they run."""
