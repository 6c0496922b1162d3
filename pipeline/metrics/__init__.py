"""Scores, statistical tests and thresholds: pure functions of labels and predictions."""
