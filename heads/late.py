"""Late and hybrid fusion: the combined decisions of classifiers of one modality, or also of both."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Dims, Inputs, classifier
from .decision import Combination, DecisionHead


class LateHead(DecisionHead):
    """The decisions of an image classifier and a text classifier, combined by `combine` (see DecisionHead).

    Atrey et al., 2010. If one modality is missing, the other decides; if both are, the predictions for the null vectors
    are combined.
    """

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5, combine: Combination = "mean") -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout, combine=combine, parts=2)
        self.classify_image = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)
        self.classify_text = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def parts(self, inputs: Inputs) -> Tensor:
        """The logits (2, B, K) of the image and the text classifier."""
        image, text = self.project_pooled(inputs)  # (B, H) each
        return torch.stack([self.classify_image(image), self.classify_text(text)])

    def present(self, inputs: Inputs) -> Tensor:
        """Whether each post has an image and a text: (2, B)."""
        return torch.stack([inputs.image_mask.any(-1), inputs.text_mask.any(-1)])


class HybridHead(DecisionHead):
    """The decisions of an image, a text and a concatenation classifier, combined by `combine` (see DecisionHead).

    Atrey et al., 2010. All three share the projections. The classifier of a missing modality is left out; that of both
    modalities never is.
    """

    def __init__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5, combine: Combination = "mean") -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout, combine=combine, parts=3)
        self.classify_image = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)
        self.classify_text = classifier(hidden, hidden=hidden, classes=dims.classes, dropout=dropout)
        self.classify_both = classifier(2 * hidden, hidden=hidden, classes=dims.classes, dropout=dropout)

    def parts(self, inputs: Inputs) -> Tensor:
        """The logits (3, B, K) of the image, the text and the concatenation classifier."""
        image, text = self.project_pooled(inputs)  # (B, H) each
        both = self.classify_both(torch.cat([image, text], -1))
        return torch.stack([self.classify_image(image), self.classify_text(text), both])

    def present(self, inputs: Inputs) -> Tensor:
        """Whether each post has an image and a text, then True for the concatenation: (3, B)."""
        image, text = inputs.image_mask.any(-1), inputs.text_mask.any(-1)
        return torch.stack([image, text, torch.ones_like(image)])
