"""Who trains the heads of a race: a chunk of them side by side, and new chunks once some have left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch

from ..features.runtime import available_cores
from ..heads.base import Head, Inputs
from .fused import Fused, begin, regroup
from .many import LARGEST, LARGEST_GPU, Job, Task, Trained, company, share_out, speak, start
from .scene import Place, Scene, Scenes
from .split import Fold
from .train_config import TrainConfig

_NOTHING = Inputs(*(torch.empty(0) for _ in range(4)))


class Runner:
    """A chunk of heads that train side by side, one rung after another; between rungs it holds no inputs."""

    def __init__(self, folds: Sequence[Fold], members: Sequence[tuple[int, Task, Job]]) -> None:
        self.folds, self.members = folds, list(members)
        self.place: Place = members[0][2].place
        self.fused: Fused | None = None
        self.numbers: dict[tuple[int, int], int] = {}
        self.errors: dict[tuple[int, int], ValueError] = {}

    def reach(self, rung: int, wanted: set[int], scenes: Scenes) -> list[tuple[int, Job, Trained | ValueError]]:
        """Train to a rung; what each head of the wanted trials says then, or why it cannot."""
        with scenes.use(self.place) as scene:
            if self.fused is None:
                self._begin(scene)
            found: list[tuple[int, Job, Trained | ValueError]] = []
            if self.fused is not None:
                self.fused.inputs, self.fused.views = scene.inputs, scene.views
                self.fused.train(rung)
            for index, task, job in self.members:
                if index in wanted:
                    found.append((index, job, self._say(scene, index, task, job)))
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

    def _begin(self, scene: Scene) -> None:
        heads: list[Head] = []
        settings: list[TrainConfig] = []
        for index, task, job in self.members:
            try:
                head, training = start(scene, task, job)
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
                stop_rows=rows.stop,
                views=scene.views,
            )

    def _say(self, scene: Scene, index: int, task: Task, job: Job) -> Trained | ValueError:
        if (index, job.member) in self.errors:
            return self.errors[index, job.member]
        assert self.fused is not None
        try:
            head, fitted = self.fused.finish(self.numbers[index, job.member])
        except ValueError as error:
            return error
        return speak(scene, self.folds[job.fold], task.config, job, head, fitted, stops=False)


def regrouped(runners: Sequence[Runner], wanted: set[int], device: str) -> list[Runner]:
    """The heads of these trials in full chunks again, after others have left; heads not begun stay as they are."""
    groups: dict[Hashable, list[tuple[Runner, int]]] = defaultdict(list)
    for runner in runners:
        if runner.fused is not None:
            for at, (index, task, job) in enumerate(runner.members):
                if index in wanted and (index, job.member) in runner.numbers:
                    groups[company(task, job), runner.fused.epoch].append((runner, at))
    largest, threads = (LARGEST, available_cores()) if device == "cpu" else (LARGEST_GPU, 1)
    chunks = share_out([(group, largest) for group in groups.values()], threads)
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
