"""Search over settings: trials on inner folds, by successive halving."""
