"""Ablation: the contribution of a modality or of a part of a head."""
