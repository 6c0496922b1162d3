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
from .concat import ConcatHead
from .gated import GatedHead
from .single import ImageHead, TextHead
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
    "attention": HeadInfo(AttentionHead, "tokens", "the image asks, the text answers", "Tsai 2019"),
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
    dropout: float = 0.3,
    seed: int = 0,
    **options: int | float | str,
) -> Head:
    """Build the named head on the CPU: same seed, same weights. The global random state is left as it was.

    `options` are the head's own (`head_info(name).options`).

    Raises ValueError on an unknown name, an option that the head does not take, or a value that it refuses.
    """
    info = head_info(name)
    for option in options:
        if option not in info.options:
            known = ", ".join(info.options) or "none beside hidden and dropout"
            raise ValueError(f"head {name!r} has no option {option!r}; its options: {known}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return info.build(dims, hidden=hidden, dropout=dropout, **options)
