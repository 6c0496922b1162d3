"""Looks at the posts behind the scores of a run: what each modality predicts, errors, doubtful labels, copies."""
