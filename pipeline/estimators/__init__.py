"""Fusion heads as scikit-learn estimators."""
