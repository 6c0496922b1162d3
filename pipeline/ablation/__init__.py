"""What a modality, or a part of a head, contributes."""
