"""Evaluation of trained heads: baselines, paired tests, curves, the test set, the report."""
