"""A classifier like those of scikit-learn as a head: pooled vectors of both modalities in, log-probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .base import MODALITIES, Dims, Head, Inputs, Modality
from .decision import best_temperature
from .estimators.entries import SCALES, Entry, Option
from .estimators.storage import from_bytes, to_bytes

SMOOTHING = 1e-3  # added to each probability: a vote of neighbours or trees may be 0, which has no logarithm


@dataclass(frozen=True)
class EstimatorBuilder:
    """Builds the head of an entry, as the class of any other head does."""

    entry: Entry
    reads: ClassVar[tuple[Modality, ...]] = Head.reads

    @property
    def __signature__(self) -> Signature:
        options = {"hidden": 128, "dropout": 0.5, "scale": "standard", "pca": self.entry.pca, **self.entry.options}
        keywords = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in options.items()]
        return Signature([Parameter("dims", Parameter.POSITIONAL_OR_KEYWORD), *keywords])

    def __call__(self, dims: Dims, *, hidden: int = 128, dropout: float = 0.5, **options: Any) -> EstimatorHead:
        return EstimatorHead(dims, self.entry, **options)


class EstimatorHead(Head):
    """logits = log p / T of a scikit-learn classifier; of one without probabilities, its decision function / T.

    The classifier reads the pooled vector of each modality, standardised where `scale` is "standard" and reduced to
    `pca` principal components where that is above 0, then two columns that are 1 where the modality is present. The
    vector of a missing modality is zeros. `prepare` fits all of it on the training rows; it has no gradient.
    `calibrate` fits the temperature T (Guo et al., 2017). The classifier is stored with the weights, as bytes.

    Raises ValueError where an option is out of range.
    """

    temperature: Tensor

    def __init__(
        self, dims: Dims, entry: Entry, *, scale: str = "standard", pca: int | None = None, **options: Option
    ) -> None:
        super().__init__(dims, hidden=1, dropout=0.0)
        pca = entry.pca if pca is None else pca
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
        if pca < 0:
            raise ValueError(f"pca must be 0 (no reduction) or more, got {pca!r}; 128 is usual")
        self.entry = entry
        self.projections = nn.ModuleDict(
            {name: Standardisation(dims.width(name), scale=scale == "standard", components=pca) for name in MODALITIES}
        )
        self.register_buffer("temperature", torch.ones(()))
        self.template = entry.new(int(torch.randint(2**31, ())), options)
        self.model: Any = None  # the fitted one

    @torch.no_grad()
    def prepare(self, inputs: Inputs, labels: Tensor, rows: Tensor) -> None:
        """Fit standardisation, components and the classifier to these rows and their `labels` (N,).

        Raises ValueError where the classifier cannot be fitted to them.
        """
        from sklearn.base import clone

        for name in MODALITIES:
            vectors, mask = inputs.side(name)
            self._side(name).fit(vectors[rows, 0][mask[rows, 0]])
        truth = labels[rows].cpu().numpy()
        try:
            self.model = clone(self.template).fit(self._columns(inputs, rows), truth)
        except ValueError as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"{self.entry.path} cannot be fitted ({reason}); change its --option values") from error

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K). Raises ValueError before `prepare`."""
        if self.model is None:
            raise ValueError(f"{self.entry.path} is not fitted; train the head first")
        rows = torch.arange(len(inputs.text), device=inputs.text.device)
        scores = np.full((len(rows), self.dims.classes), np.log(SMOOTHING / (1 + SMOOTHING * self.dims.classes)))
        scores[:, self.model.classes_] = self._scores(self._columns(inputs, rows))
        return torch.from_numpy(scores).float().to(rows.device) / self.temperature

    @torch.no_grad()
    def calibrate(self, inputs: Inputs, labels: Tensor) -> None:
        """Fit the temperature."""
        self.temperature.fill_(1.0)
        self.temperature.fill_(best_temperature(self(inputs).double(), labels))

    def get_extra_state(self) -> Tensor:
        """The fitted classifier as bytes (n,); n is 0 before `prepare`."""
        return torch.from_numpy(to_bytes(self.model)) if self.model is not None else torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the classifier. Raises ValueError where these are not its bytes."""
        self.model = None
        if len(state):
            stored, width = state.cpu().numpy(), sum(self._side(name).width for name in MODALITIES) + len(MODALITIES)
            self.model = from_bytes(self.entry, self.template, stored, width=width, classes=self.dims.classes)

    def _scores(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithm of the probabilities of `model.classes_`, or their decision function: (B, at most K)."""
        if hasattr(self.model, "predict_proba"):
            found = self.model.predict_proba(columns) + SMOOTHING
            return np.asarray(np.log(found / (1 + SMOOTHING * self.dims.classes)))
        decision = np.asarray(self.model.decision_function(columns))
        return decision if decision.ndim == 2 else np.stack([-decision, decision], 1)

    def _columns(self, inputs: Inputs, rows: Tensor) -> NDArray[np.float64]:
        """What the classifier reads of some rows (n,): (n, columns)."""
        parts, present = [], []
        for name in MODALITIES:
            vectors, mask = inputs.side(name)
            parts.append(self._side(name)(vectors[rows, 0], mask[rows, 0]))
            present.append(mask[rows, 0].to(parts[0].dtype)[:, None])
        columns: NDArray[np.float64] = torch.cat([*parts, *present], 1).cpu().numpy()
        return columns

    def _side(self, name: Modality) -> Standardisation:
        side = self.projections[name]
        assert isinstance(side, Standardisation)
        return side


class Standardisation(nn.Module):
    """Scales the vectors of one modality and reduces them to principal components, both fitted to training rows.

    A modality has `width` columns afterwards; those of more components than rows or columns are 0.
    """

    mean: Tensor
    deviation: Tensor
    basis: Tensor

    def __init__(self, width: int, *, scale: bool, components: int) -> None:
        super().__init__()
        self.scale, self.reduced = scale, 0 < components < width
        self.width = components if self.reduced else width
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(width, dtype=torch.float64))
        self.register_buffer("basis", torch.zeros(width, self.width if self.reduced else 0, dtype=torch.float64))

    def fit(self, vectors: Tensor) -> None:
        """Fit to vectors (n, D); without any, nothing changes."""
        from sklearn.decomposition import PCA

        if not len(vectors):
            return
        vectors = vectors.double()
        if self.scale or self.reduced:
            self.mean.copy_(vectors.mean(0))
        if self.scale:
            deviation = vectors.std(0, correction=0)
            self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))  # a constant column keeps its scale
        if self.reduced:
            scaled = ((vectors - self.mean) / self.deviation).cpu().numpy()
            count = min(self.width, len(scaled))
            axes = PCA(count, svd_solver="covariance_eigh").fit(scaled).components_  # (count, D)
            self.basis[:, :count] = torch.from_numpy(np.ascontiguousarray(axes.T))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Map vectors (n, D) to (n, width); zeros where the mask (n,) is False."""
        scaled = (torch.where(mask[:, None], vectors.double(), self.mean) - self.mean) / self.deviation
        return scaled @ self.basis if self.reduced else scaled
