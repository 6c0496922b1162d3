"""What a head is worth: baselines, paired tests, curves, the test set, the report."""
