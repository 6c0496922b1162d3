"""Fine-tuning of one encoder on the training rows of a split."""
