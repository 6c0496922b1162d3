"""How a sweep searches: every setting of it, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...features.setting import check, setting
from .train_config import metrics

Ensemble = Literal["none", "greedy"]
Sampler = Literal["auto", "grid", "random", "tpe"]
MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Search:
    """How settings are searched; at least three trials go on from each rung.

    `ensemble` "greedy" joins complete trials into one model (Caruana et al., 2004).

    Raises ValueError naming the first field that is out of range.
    """

    trials: int = setting(0, "Points that are tried.", minimum=0, maximum=MOST_TRIALS, zero="the whole grid, or 64")
    inner: int = setting(5, "Inner folds that rank the trials.", flags=("--folds", "--inner"), minimum=2, unit="folds")
    outer: int = setting(1, "Outer folds that score the winner; 1: the stored split.", minimum=1)
    sampler: Sampler = setting("auto", "How points are sampled; auto: a grid of lists alone, else random.")
    halving: int = setting(3, "One in N trials goes on from rung to rung.", minimum=0, zero="all train to the end")
    metric: str = setting(
        "accuracy", "Metric on the inner folds that ranks the trials.", flags=("--by",), choices=metrics
    )
    batch: int = setting(0, "Trials that are compared at each rung.", minimum=0, zero="what suits the sampler")
    ensemble: Ensemble = setting("none", "How complete trials are joined: not at all, or greedy.")
    study: str = setting("", "Database URL or SQLite file; in the run folder if empty.")

    def __post_init__(self) -> None:
        check(self)
        if self.halving == 1:
            raise ValueError("--halving must be 2 or more, or 0 for none; got 1")

    @property
    def at_once(self) -> int:
        """The largest number of trials in a batch, where memory allows it."""
        suited = 16 if self.sampler == "tpe" else 256  # TPE learns from one batch for the next
        return min(self.batch or suited, self.trials)
