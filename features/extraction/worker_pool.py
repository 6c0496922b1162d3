"""The workers of `--engine ray`: hired on every node that has room, buried when they die, dismissed at the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

ATTEMPTS = 4  # workers that may die while they start, or over one chunk, before the run ends
LOOK_SECONDS = 1.0  # between looks at the cluster's nodes
STARTING_SECONDS = 600.0  # without any worker
POLL_SECONDS = 1.0


class RayRunError(ValueError):
    """A run on a Ray cluster cannot go on. What its workers wrote stays."""


@dataclass(frozen=True)
class Death:
    """Why a worker is no more that had something in hand."""

    error: Exception


class Crew:
    """One worker on each GPU; where the cluster has none, one on each node or, if `single`, on each core.

    Nodes come and go. A worker is an instance of `kind`, made with `about`, `cores` and `gpu`, that has a `start`.
    """

    def __init__(self, ray: Any, kind: type, about: tuple[Any, ...], *, device: str, single: bool = False) -> None:
        """`ray` is the module, connected. Raises RayRunError for a device that the cluster lacks."""
        self.ray = ray
        self.kind, self.about, self.single = kind, about, single
        self.nodes: dict[Any, str] = {}  # worker -> its node
        self.starting: dict[Any, Any] = {}  # reference -> worker
        self.running: dict[Any, tuple[Any, Any]] = {}  # reference -> worker, and what it has in hand
        self.idle: deque[Any] = deque()
        self.deaths = 0  # while starting, one after another
        self.looked = 0.0
        self.lonely = time.monotonic()  # since when there has been no worker
        gpus = any(_gpus(node) for node in self._alive())
        if device.startswith("cuda") and not gpus:
            raise RayRunError(
                "--device cuda: no node of this Ray cluster has a GPU; leave it out, or start Ray with GPUs"
            )
        self.gpu = gpus and device.startswith(("auto", "cuda"))

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def places(self) -> int:
        """How many workers the nodes of this moment have room for; 1 at least."""
        return max(1, sum(map(self._wanted, self._alive())))

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
            name, wanted = node["NodeID"], self._wanted(node)
            for _ in range(wanted - list(self.nodes.values()).count(name)):
                self._start(name, 1 if self.single else max(1, _cores(node) // wanted))

    def give(self, worker: Any, reference: Any, item: Any) -> None:
        """Note that a worker, idle until now, has an item in hand, and that its outcome will be at a reference."""
        self.idle.remove(worker)
        self.running[reference] = worker, item

    def gather(self) -> Iterator[tuple[Any, Any, Any]]:
        """What workers finished, or died over, within a moment: the worker, its item, and the outcome or a Death.

        Those that finished are idle again. Raises RayRunError for what a worker raised.
        """
        references = [*self.starting, *self.running]
        if not references:
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self.ray.wait(references, timeout=POLL_SECONDS)
        for reference in ready:
            if reference in self.starting:
                self.receive(reference)
                continue
            worker, item = self.running.pop(reference)
            try:
                outcome = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as error:
                raise told(error) from error.cause
            except self.ray.exceptions.RayError as error:
                self.bury(worker)
                outcome = Death(error)
            else:
                self.idle.append(worker)
            yield worker, item, outcome

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

        hired = self.ray.remote(self.kind).options(
            num_cpus=cores,
            num_gpus=1 if self.gpu else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        worker = hired.remote(*self.about, cores=cores, gpu=self.gpu)
        self.nodes[worker] = node
        self.starting[worker.start.remote()] = worker

    def _wanted(self, node: Mapping[str, Any]) -> int:
        if self.gpu:
            return _gpus(node)
        return _cores(node) if self.single else min(1, _cores(node))

    def _alive(self) -> list[Mapping[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]


def told(error: Any) -> RayRunError:
    """What a worker raised, as one line for the user."""
    cause = error.cause
    kind = "" if isinstance(cause, (ValueError, OSError)) else f"{type(cause).__name__}: "
    return RayRunError(f"a Ray worker stopped: {kind}{_line(cause)}; what was written stays, run the command again")


def _gpus(node: Mapping[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))


def _cores(node: Mapping[str, Any]) -> int:
    return int(node["Resources"].get("CPU", 0))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
