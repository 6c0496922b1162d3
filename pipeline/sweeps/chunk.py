"""Who trains the heads of a race: a chunk of them side by side, and new chunks once some have left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence, Set
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...heads.base import Head, Inputs
from ..config.train_config import TrainConfig
from ..data.split import Fold
from ..fused.chunks import LARGEST, LARGEST_GPU, fusion_key, make_chunks
from ..fused.stack import Trainee
from ..fused.training import Fused, begin, regroup
from ..training.fold_inputs import FoldInputs, InputsCache, InputsKey
from ..training.jobs import Experiment, HeadJob, new_head

_NOTHING = Inputs(*(torch.empty(0) for _ in range(4)))


class Said(NamedTuple):
    """What a head says at a rung of the fold's test rows: logits (n, K) in each scored view; and what it cost."""

    logits: list[NDArray[np.float32]]
    seconds: float


class Runner:
    """A chunk of heads that train side by side, one rung after another; between rungs it holds no inputs."""

    def __init__(self, folds: Sequence[Fold], members: Sequence[tuple[int, Experiment, HeadJob]]) -> None:
        self.folds, self.members = folds, list(members)
        self.inputs_key: InputsKey = members[0][2].inputs_key
        self.fused: Fused | None = None
        self.numbers: dict[tuple[int, int], int] = {}
        self.errors: dict[tuple[int, int], ValueError] = {}

    def reach(self, rung: int, wanted: Set[int], scenes: InputsCache) -> list[tuple[int, Said | ValueError]]:
        """Train to a rung; what each head of the wanted trials says then, or why it cannot, by its place here."""
        with scenes.use(self.inputs_key) as scene:
            if self.fused is None:
                self._begin(scene)
            if self.fused is not None:
                self.fused.inputs, self.fused.views = scene.inputs, scene.views
                self.fused.train(rung)
            found = self._said(scene, [at for at, (index, _, _) in enumerate(self.members) if index in wanted])
            if self.fused is not None:
                self.fused.inputs, self.fused.views = _NOTHING, ()
            return found

    @property
    def trials(self) -> set[int]:
        """The trials whose heads these are."""
        return {index for index, _, _ in self.members}

    def forget(self, index: int) -> None:
        """Train and keep this trial's heads no longer."""
        for (owner, _), number in self.numbers.items():
            if owner == index and self.fused is not None:
                self.fused.forget(number)

    def keep(self, wanted: Set[int]) -> None:
        """Forget all trials but these."""
        for index in self.trials - wanted:
            self.forget(index)

    def _begin(self, scene: FoldInputs) -> None:
        heads: list[Head] = []
        settings: list[TrainConfig] = []
        for index, task, job in self.members:
            try:
                head, training = new_head(scene, task, job)
            except ValueError as error:
                self.errors[index, job.member] = error
                continue
            self.numbers[index, job.member] = len(heads)
            heads.append(head)
            settings.append(training)
        if heads:
            rows = self.members[0][2].rows
            self.fused = begin(
                heads,
                settings,
                scene.inputs,
                scene.labels,
                train_rows=rows.train,
                valid_rows=rows.valid,
                views=scene.views,
            )

    def _said(self, scene: FoldInputs, places: Sequence[int]) -> list[tuple[int, Said | ValueError]]:
        found: list[tuple[int, Said | ValueError]] = []
        groups: dict[tuple[int, bool], list[tuple[int, int]]] = defaultdict(list)
        for at in places:
            index, task, job = self.members[at]
            number = self.numbers.get((index, job.member))
            error = self.errors[index, job.member] if number is None else self._trainee(number).error
            if error is not None:
                found.append((at, error))
            elif number is not None:
                groups[job.fold, task.config.average_views].append((at, number))
        for (fold, every_view), group in groups.items():
            assert self.fused is not None
            seen = [scene.inputs, *scene.views] if every_view else [scene.inputs]
            said = self.fused.say([number for _, number in group], seen, self.folds[fold].test)
            for (at, number), logits in zip(group, said, strict=True):
                seconds = sum(record.seconds for record in self._trainee(number).course.history)
                found.append((at, Said(logits, seconds)))
        return sorted(found, key=lambda one: one[0])

    def _trainee(self, number: int) -> Trainee:
        assert self.fused is not None
        return self.fused.trainees[number]


def regrouped(runners: Sequence[Runner], wanted: Set[int], *, device: str, threads: int) -> list[Runner]:
    """The heads of these trials in full chunks again, after others have left; heads not begun stay as they are."""
    groups: dict[Hashable, list[tuple[Runner, int]]] = defaultdict(list)
    for runner in runners:
        if runner.fused is not None:
            for at, (index, task, job) in enumerate(runner.members):
                if index in wanted and (index, job.member) in runner.numbers:
                    groups[fusion_key(task, job), runner.fused.epoch].append((runner, at))
    largest = LARGEST if device == "cpu" else LARGEST_GPU
    chunks = make_chunks([(group, largest) for group in groups.values()], threads)
    return [runner for runner in runners if runner.fused is None] + [_joined(chunk) for chunk in chunks]


def _joined(heads: Sequence[tuple[Runner, int]]) -> Runner:
    """A runner of some heads of others, each by its place there."""
    joined = Runner(heads[0][0].folds, [runner.members[at] for runner, at in heads])
    names = [(index, job.member) for index, _, job in joined.members]
    parts = [
        (runner.fused, runner.numbers[name])
        for (runner, _), name in zip(heads, names, strict=True)
        if runner.fused is not None
    ]
    joined.fused, joined.numbers = regroup(parts), {name: number for number, name in enumerate(names)}
    return joined
