"""Which head, on which inputs: every setting of a head, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ...heads.registry import head_info

Grid = tuple[int, int]  # rows and columns of image tokens


@dataclass(frozen=True)
class HeadConfig:
    """Which head, on which inputs. `token_width` is the width that tokens are projected to (None: their own).

    `ensemble_size` heads are trained per fold, each from its own seed and stopped on other rows (with more than ten,
    the eleventh on the first one's), and their probabilities averaged; with a fusion such as `gated+kernel` they are of
    these kinds in turn, and an option is for those that have it. `views` augmented views of each image are trained on
    beside the plain one; `average_views` scores with the mean of the probabilities over the plain image and all of
    them, instead of the plain one alone.
    """

    fusion: str = "attention"
    inputs: Literal["auto", "pooled", "tokens"] = "auto"
    hidden: int = 128
    dropout: float = 0.5
    patches: Grid | None = (4, 4)
    token_width: int | None = 256
    ensemble_size: int = 1
    views: int = 0
    average_views: bool = False
    options: Mapping[str, int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {option for fusion in self.fusions for option in head_info(fusion).options}
        if len(self.fusions) > 1 and (strange := [option for option in self.options if option not in known]):
            raise ValueError(f"none of {self.fusion} has an option {strange[0]!r}; theirs: {', '.join(sorted(known))}")
        if self.ensemble_size < len(self.fusions):
            raise ValueError(f"{self.fusion} is an ensemble of {len(self.fusions)} heads or more; add --ensemble N")
        if self.inputs not in ("auto", "pooled", "tokens"):
            raise ValueError(f"inputs must be auto, pooled or tokens; got {self.inputs!r}")
        if self.ensemble_size < 1:
            raise ValueError(f"an ensemble has 1 head per fold or more; got {self.ensemble_size}")
        if self.views < 0:
            raise ValueError(f"views must be 0 (the plain image alone) or more; got {self.views}")
        if self.average_views and not self.views:
            raise ValueError("--average-views has nothing to average; add --views N, as many as were extracted")

    @property
    def tokens(self) -> bool:
        """Whether the head sees tokens: what was asked for, or what suits it, or one of its kinds."""
        suited = [head_info(fusion).inputs for fusion in self.fusions]
        return "tokens" in (suited if self.inputs == "auto" else [self.inputs])

    @property
    def fusions(self) -> tuple[str, ...]:
        """The kinds of head that the members are of in turn; mostly one."""
        return tuple(self.fusion.split("+"))

    def of_member(self, number: int) -> HeadConfig:
        """The config of one member alone, on the inputs of all of them."""
        fusion = self.fusions[number % len(self.fusions)]
        inputs: Literal["pooled", "tokens"] = "tokens" if self.tokens else "pooled"
        options = self.options
        if len(self.fusions) > 1:
            options = {name: value for name, value in options.items() if name in head_info(fusion).options}
        return replace(self, fusion=fusion, inputs=inputs, ensemble_size=1, options=options)
