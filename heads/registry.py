"""The heads by name, and the one way to build one."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from .attention import AttentionHead
from .base import Dims, Head
from .bilinear import BilinearHead
from .cma import CmaHead
from .coattention import CoattentionHead
from .concat import ConcatHead
from .fourway import FourwayHead
from .gated import GatedHead
from .hybrid import HybridHead
from .kernel import KernelHead
from .late import LateHead
from .mult import MultHead
from .ote import OteHead
from .rnn import RnnHead
from .single import ImageHead, TextHead
from .threeway import ThreewayHead
from .towers import Towers
from .transformer import TransformerHead
from .weighted import WeightedHead


@dataclass(frozen=True)
class HeadInfo:
    """One entry of the registry: the class, the inputs that suit it, what it does, who described it."""

    build: Callable[..., Head]
    inputs: Literal["pooled", "tokens"]
    summary: str
    paper: str = ""

    @property
    def options(self) -> dict[str, object]:
        """The head's own options and their defaults: what it takes beside `hidden` and `dropout`."""
        parameters = inspect.signature(self.build).parameters.values()
        common = ("hidden", "dropout")
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in common}


HEADS: dict[str, HeadInfo] = {
    "concat": HeadInfo(ConcatHead, "pooled", "both vectors side by side, then a perceptron", "Ngiam 2011"),
    "weighted": HeadInfo(WeightedHead, "pooled", "a weighted sum, weights learned per post or fixed", "Gu 2018"),
    "gated": HeadInfo(GatedHead, "pooled", "a gate chooses the modality feature by feature", "Arevalo 2017"),
    "cma": HeadInfo(CmaHead, "pooled", "one softmax over the features weighs both vectors"),
    "bilinear": HeadInfo(BilinearHead, "pooled", "products of features, through a map of low rank", "Liu 2018"),
    "ote": HeadInfo(OteHead, "pooled", "a Transformer encoder over the two vectors", "Vaswani 2017"),
    "late": HeadInfo(LateHead, "pooled", "decisions of one classifier per modality", "Atrey 2010"),
    "hybrid": HeadInfo(HybridHead, "pooled", "decisions of single and common classifiers", "Atrey 2010"),
    "kernel": HeadInfo(KernelHead, "pooled", "likeness to training posts in both at once", "Williams 2001"),
    "attention": HeadInfo(AttentionHead, "tokens", "the image asks, the text answers", "Tsai 2019"),
    "coattention": HeadInfo(CoattentionHead, "tokens", "image and text ask each other, in layers", "Lu 2019"),
    "threeway": HeadInfo(ThreewayHead, "tokens", "the mean over three attentions, one to itself", "Vaswani 2017"),
    "fourway": HeadInfo(FourwayHead, "tokens", "four streams added, two of them informed", "Vaswani 2017"),
    "transformer": HeadInfo(TransformerHead, "tokens", "an encoder over both sequences of tokens", "Vaswani 2017"),
    "mult": HeadInfo(MultHead, "tokens", "each modality rewritten by the other, then by itself", "Tsai 2019"),
    "rnn": HeadInfo(RnnHead, "tokens", "an LSTM or GRU over the words, the image joined", "Graves 2005"),
    "text": HeadInfo(TextHead, "pooled", "the text alone"),
    "image": HeadInfo(ImageHead, "pooled", "the image alone"),
}


def head_info(name: str) -> HeadInfo:
    """Return the entry of a head; raise ValueError with the nearest names when there is none."""
    if name not in HEADS:
        near = difflib.get_close_matches(name, HEADS, n=3) or sorted(HEADS)
        raise ValueError(f"unknown fusion head {name!r}; did you mean {', '.join(near)}?")
    return HEADS[name]


def build_head(
    name: str,
    dims: Dims,
    *,
    hidden: int = 128,
    dropout: float = 0.5,
    seed: int = 0,
    towers: Towers = Towers(),
    **options: int | float | str,
) -> Head:
    """Build the named head on the CPU: same seed, same weights. The global random state is left as it was.

    `options` are the head's own (`head_info(name).options`). `towers` stand under it where its inputs are pixels or
    token ids instead of features, and are trained with it.

    Raises ValueError on an unknown name, an option that the head does not take, or a value that it refuses.
    """
    info = head_info(name)
    for option in options:
        if option not in info.options:
            known = ", ".join(info.options) or "none beside hidden and dropout"
            raise ValueError(f"head {name!r} has no option {option!r}; its options: {known}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)

        def build(dims: Dims) -> Head:
            return info.build(dims, hidden=hidden, dropout=dropout, **options)

        return towers.put_under(build, dims, dropout=dropout)
