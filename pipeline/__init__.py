"""Stage two's work: data, splits, training, evaluation, ablation, prediction, reports."""
