"""A stored run as one module: features of each encoder in, logits and calibrated probabilities out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ...features.spec import MODALITIES, EncoderSpec, Modality
from ...heads.base import Head, Inputs
from ...heads.estimator import EstimatorHead
from ...heads.positions import LONGEST, Positions
from ..data.inputs import reduction_names
from ..runs.runs import Run

FEWEST = 3  # positions of an input with tokens, masked ones included: torch.export treats one and two as other cases
MASK = "_mask"  # ends the name of an input's mask


@dataclass(frozen=True)
class FeatureInput:
    """An input of the exported model: the features (B, L, D) of one encoder, the pooled vector first, then its tokens.

    Its mask (B, L) has the name with `_mask`, but for an augmented view, which has that of the plain input `view_of`.
    `length` is L where that is fixed, `low` and `high` bound it otherwise.
    """

    name: str
    spec: EncoderSpec
    length: int | None
    low: int = FEWEST
    high: int | None = None
    view_of: str = ""

    @property
    def mask(self) -> str:
        """The name of its mask; views share that of what they are views of."""
        return f"{self.view_of or self.name}{MASK}"


def feature_inputs(run: Run) -> list[FeatureInput]:
    """The inputs of a run's model: `image`, `image_1` … and `text`, `text_1` …, then views as `image_view1`.

    Raises ValueError for heads that are no torch modules, and for positions that depend on the padding of other posts.
    """
    layers = [layer for head in run.heads for layer in head.modules()]
    fitted = sorted({layer.entry.path for layer in layers if isinstance(layer, EstimatorHead)})
    if fitted:
        raise ValueError(
            f"{', '.join(fitted)} is fitted as a scikit-learn classifier, which cannot be exported; export a run "
            "of another --fusion (`msa heads`), or use `msa serve`"
        )
    positions = {layer.kind for layer in layers if isinstance(layer, Positions)} - {"none"}
    several = [modality for modality in MODALITIES if run.config.tokens and len(run.specs[modality]) > 1]
    if positions and several:
        raise ValueError(
            f"{run.config.label} numbers the tokens of several {several[0]} encoders by the longest post of a data "
            "set, which a model for single posts does not know; export a run of one encoder, or of another head, or "
            "train with --option positions=none"
        )
    high = LONGEST + 1 if "learned" in positions else None
    found = [one for modality in MODALITIES for one in _inputs_of(run, modality, run.specs[modality], high)]
    plain = {one.name: one for one in found}
    for number, specs in enumerate(run.views, 1):
        for name, spec in zip(_names("image", len(specs)), specs, strict=True):
            like = plain[name]
            found.append(FeatureInput(f"{name}_view{number}", spec, like.length, like.low, like.high, name))
    return found


def _inputs_of(run: Run, modality: Modality, specs: Sequence[EncoderSpec], high: int | None) -> list[FeatureInput]:
    found = []
    for name, spec in zip(_names(modality, len(specs)), specs, strict=True):
        length = None if run.config.tokens or spec.raw else 1
        if spec.raw and modality == "image":
            length = 1 + spec.width // 3  # of a square image, its rows
        found.append(FeatureInput(name, spec, length, high=high))
    return found


def _names(modality: Modality, encoders: int) -> list[str]:
    return [name.replace(".", "_") for name in reduction_names(modality, encoders)]


class FoldModel(nn.Module):
    """The heads of one fold and the reductions of tokens before them: inputs to the logits (B, K) of the fold."""

    temperature: Tensor

    def __init__(self, run: Run, number: int) -> None:
        super().__init__()
        heads, reductions = run.folds[number]
        self.heads = nn.ModuleList(heads)
        self.specs, self.tokens, self.views = run.specs, run.config.tokens, len(run.views)
        self.register_buffer("temperature", torch.tensor(run.temperatures[number] if run.temperatures else 1.0))
        for name, basis in reductions.items():
            self.register_buffer(f"basis_{name.replace('.', '_')}", basis.contiguous())

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map features by the names of `feature_inputs` to logits (B, K), decision thresholds included."""
        text = self._side("text", features)
        inputs = [Inputs(*self._side("image", features, view), *text) for view in ("", *self._suffixes())]
        heads: Sequence[Head] = list(self.heads)  # type: ignore[arg-type]
        return log_mean([head(one) + head.offsets for head in heads for one in inputs])

    def _suffixes(self) -> list[str]:
        return [f"_view{number + 1}" for number in range(self.views)]

    def _side(self, modality: Modality, features: Mapping[str, Tensor], view: str = "") -> tuple[Tensor, Tensor]:
        """One modality as the heads read it, as `build_inputs` makes it of the cache: (B, L, D) and its mask (B, L)."""
        specs = self.specs[modality]
        if not specs:  # one masked column
            first = next(iter(features.values()))
            return first.new_zeros(len(first), 1, 1), torch.zeros(len(first), 1, dtype=torch.bool, device=first.device)
        names = _names(modality, len(specs))
        masks = [features[f"{name}{MASK}"] for name in names]
        present = _present(specs, masks)
        masks = [mask & mask[:, :1] & present for mask in masks]
        parts = [self._reduced(name, features[f"{name}{view}"], mask) for name, mask in zip(names, masks, strict=True)]
        if len(parts) == 1:
            return parts[0], masks[0]
        if not self.tokens:
            return torch.cat(parts, -1), present
        widest = max(part.shape[-1] for part in parts)
        parts = [pad(part, (0, widest - part.shape[-1])) for part in parts]
        summary = torch.stack([part[:, :1] for part in parts]).mean(0)  # (B, 1, D)
        return torch.cat([summary, *parts], 1), torch.cat([present, *masks], 1)

    def _reduced(self, name: str, vectors: Tensor, mask: Tensor) -> Tensor:
        """One encoder's vectors (B, L, D), zeros where masked, on the principal axes of the fold, if any."""
        clean = torch.where(mask[..., None], vectors, 0.0)
        basis: Tensor | None = getattr(self, f"basis_{name}", None)
        return clean if basis is None else clean @ basis


class ExportedModel(nn.Module):
    """All folds of a run: features to logits and calibrated probabilities, as `msa predict` averages them.

    Probabilities (B, K) are the mean of those of the folds, each at its own temperature. The logits (B, K), whose
    largest is the label, are those of a single head and fold, otherwise the log of the mean of their probabilities
    before the temperatures.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.folds = nn.ModuleList(FoldModel(run, number) for number in range(len(run.folds)))
        self.eval().requires_grad_(False)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Map features (B, L, D) and masks (B, L), by the names of `feature_inputs`, to logits and probabilities."""
        logits = [fold(features) for fold in self.folds]
        calibrated = [(one / fold.temperature).softmax(-1) for one, fold in zip(logits, self.folds, strict=True)]
        return log_mean(logits), torch.stack(calibrated).mean(0)


def log_mean(logits: Sequence[Tensor]) -> Tensor:
    """Logits (B, K) whose softmax is the mean of the softmax of each of the given logits (B, K); of one, itself."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack(list(logits)).log_softmax(-1).logsumexp(0) - math.log(len(logits))


def _present(specs: Sequence[EncoderSpec], masks: Sequence[Tensor]) -> Tensor:
    """Mask (B, 1) of the posts that have a modality: in all encoders that read its text, or all its image, or both."""
    found = []
    for read in dict.fromkeys(spec.reads for spec in specs):
        own = [mask[:, :1] for spec, mask in zip(specs, masks, strict=True) if spec.reads == read]
        found.append(torch.stack(own).all(0))
    return torch.stack(found).any(0)
