"""The workers of `--engine ray`: hired on every node that has room, buried when they die, dismissed at the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..features.extract import ExtractSettings
from .ray_worker import Recipe, Worker

ATTEMPTS = 4  # workers that may die while they start, or over one chunk, before the run ends
LOOK_SECONDS = 1.0  # between looks at the cluster's nodes
STARTING_SECONDS = 600.0  # without any worker


class RayRunError(ValueError):
    """A run on a Ray cluster cannot go on. What its workers wrote stays."""


class Crew:
    """One worker on each GPU, or on all cores of each node where the cluster has no GPUs. Nodes come and go."""

    def __init__(self, ray: Any, recipe: Recipe, mark: Path, settings: ExtractSettings) -> None:
        """`ray` is the module, connected. Raises RayRunError for a device that the cluster lacks."""
        self.ray = ray
        self.about = recipe, mark.absolute(), settings
        self.nodes: dict[Any, str] = {}  # worker -> its node
        self.starting: dict[Any, Any] = {}  # reference -> worker
        self.idle: deque[Any] = deque()
        self.deaths = 0  # while starting, one after another
        self.looked = 0.0
        self.lonely = time.monotonic()  # since when there has been no worker
        gpus = any(_gpus(node) for node in self._alive())
        if settings.device.startswith("cuda") and not gpus:
            raise RayRunError(
                "--device cuda: no node of this Ray cluster has a GPU; leave it out, or start Ray with GPUs"
            )
        self.gpu = gpus and settings.device.startswith(("auto", "cuda"))

    def __len__(self) -> int:
        return len(self.nodes)

    def recruit(self) -> None:
        """Start a worker wherever one is lacking; raise RayRunError where none ever comes up."""
        now = time.monotonic()
        if len(self) > len(self.starting):
            self.lonely = now
        elif now - self.lonely > STARTING_SECONDS:
            raise RayRunError(
                f"no Ray worker started within {STARTING_SECONDS:.0f} s; see by `ray status` whether a node has its "
                "cores free"
            )
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        for node in self._alive():
            name, cores = node["NodeID"], int(node["Resources"].get("CPU", 0))
            wanted = _gpus(node) if self.gpu else min(1, cores)
            for _ in range(wanted - list(self.nodes.values()).count(name)):
                self._start(name, max(1, cores // wanted))

    def receive(self, reference: Any) -> None:
        """Take in a worker that has started, or bury it. Raises RayRunError for what starting again cannot mend."""
        worker = self.starting.pop(reference)
        try:
            self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise told(error) from error.cause
        except self.ray.exceptions.RayError as error:
            self.bury(worker)
            self.deaths += 1
            if self.deaths >= ATTEMPTS:
                raise RayRunError(f"{ATTEMPTS} Ray workers died while they started: {_line(error)}") from error
        else:
            self.deaths = 0
            self.idle.append(worker)

    def bury(self, worker: Any) -> None:
        """Forget a worker, and make sure that it is dead."""
        self.nodes.pop(worker, None)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(worker)

    def dismiss(self) -> None:
        for worker in list(self.nodes):
            self.bury(worker)

    def _start(self, node: str, cores: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        hired = self.ray.remote(Worker).options(
            num_cpus=cores,
            num_gpus=1 if self.gpu else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        worker = hired.remote(*self.about, cores=cores, gpu=self.gpu)
        self.nodes[worker] = node
        self.starting[worker.start.remote()] = worker

    def _alive(self) -> list[Mapping[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]


def told(error: Any) -> RayRunError:
    """What a worker raised, as one line for the user."""
    cause = error.cause
    kind = "" if isinstance(cause, (ValueError, OSError)) else f"{type(cause).__name__}: "
    return RayRunError(f"a Ray worker stopped: {kind}{_line(cause)}; what was written stays, run the command again")


def _gpus(node: Mapping[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
