"""Training of one head: configuration, batches, optimizer, loop, folds."""
