"""Which head, on which inputs: every setting of a head, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ...features.messages import near_or_all
from ...features.setting import check, setting
from .values import Grid

if TYPE_CHECKING:  # the heads import torch, which takes seconds, and `--help` must not wait for it
    from ...heads.registry import HeadInfo

MOST_WIDTH = 65_536
MOST_VIEWS = 100


@dataclass(frozen=True)
class HeadConfig:
    """Which head, on which inputs. Raises ValueError for a field out of range, or settings that do not go together.

    `ensemble_size` heads are trained per fold, each with its own seed and validation rows (with more than ten heads,
    the eleventh has those of the first), and their probabilities are averaged. With a fusion such as `gated+kernel`
    they are of these kinds in turn, and an option applies to those that have it. `average_views` scores with the mean
    of the probabilities over the plain image and its views, instead of the plain one alone.
    """

    fusion: str = setting("gated", "Fusion head; `msa heads` lists them.")
    inputs: Literal["auto", "pooled", "tokens"] = setting("auto", "What the head reads; auto: what suits it.")
    hidden: int = setting(128, "Width of the head.", minimum=1, maximum=MOST_WIDTH)
    dropout: float = setting(0.5, "Dropout in the head.", minimum=0, below=1)
    patches: Grid | None = setting((4, 4), "Grid that image tokens are pooled to, as 4x4; none: all tokens.")
    token_width: int | None = setting(
        256, "Width that tokens are projected to.", minimum=0, maximum=MOST_WIDTH, zero="their own"
    )
    ensemble_size: int = setting(
        1, "Heads per fold, averaged as one model.", flags=("--ensemble",), minimum=1, maximum=1000
    )
    views: int = setting(
        0, "Augmented views of each image beside the plain one.", minimum=0, maximum=MOST_VIEWS, zero="none"
    )
    average_views: bool = setting(False, "Score with the mean over the image and its views.")
    options: Mapping[str, int | float | str] = setting({}, "Head option, NAME=VALUE; repeatable.", flags=("--option",))

    def __post_init__(self) -> None:
        check(self)
        if self.options:
            self._check_options()
        if self.ensemble_size < len(self.fusions):
            raise ValueError(f"{self.fusion} is an ensemble of {len(self.fusions)} heads or more; add --ensemble N")
        if self.average_views and not self.views:
            raise ValueError("--average-views has nothing to average; add --views N, as many as were extracted")

    def _check_options(self) -> None:
        """Refuse options of no head: of the ensemble, or of any, as commands of several heads give each its own."""
        from ...heads.registry import ENTRIES

        several = len(self.fusions) > 1
        infos, whose = (self.infos, f"none of {self.fusion}") if several else (ENTRIES.values(), "no head")
        known = {option for info in infos for option in info.options}
        for option in self.options:
            if option in ("hidden", "dropout"):
                raise ValueError(f"--option {option} is an option of its own; give it as --{option}")
            if option not in known:
                raise ValueError(f"{whose} has an option {option!r}{near_or_all(option, known)}")

    @property
    def tokens(self) -> bool:
        """Whether the head reads tokens: what was asked for, or what suits it, or one of its kinds."""
        return "tokens" in ([info.inputs for info in self.infos] if self.inputs == "auto" else [self.inputs])

    @property
    def fusions(self) -> tuple[str, ...]:
        """The kinds of head in the ensemble, in turn; mostly one."""
        return tuple(self.fusion.split("+"))

    @property
    def label(self) -> str:
        """The fusion as a run folder and tables name it: of a classifier, the name of its class alone."""
        return "+".join(fusion.rpartition(".")[2] for fusion in self.fusions)

    @property
    def fitted_at_once(self) -> bool:
        """Whether all kinds are classifiers, which are not trained by steps."""
        from ...heads.registry import ESTIMATORS

        return all(fusion in ESTIMATORS for fusion in self.fusions)

    @property
    def infos(self) -> list[HeadInfo]:
        """The registry's entry of each kind. Raises ValueError for an unknown one."""
        from ...heads.registry import head_info

        return [head_info(fusion) for fusion in self.fusions]

    def of_member(self, number: int) -> HeadConfig:
        """The config of one head of the ensemble alone, on the inputs of all of them."""
        kind = number % len(self.fusions)
        inputs: Literal["pooled", "tokens"] = "tokens" if self.tokens else "pooled"
        options = self.options
        if len(self.fusions) > 1:
            options = {name: value for name, value in options.items() if name in self.infos[kind].options}
        return replace(self, fusion=self.fusions[kind], inputs=inputs, ensemble_size=1, options=options)
