"""Classifiers that serve as heads: which ones there are, and how a fitted one is stored without pickle."""
