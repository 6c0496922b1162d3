"""The workers of `--engine ray`: started on every node that has room, removed when they die and at the end."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

ATTEMPTS = 4  # workers that may die while they start on a node, or over one chunk, before it is given up
CHECK_SECONDS = 1.0  # between two looks at the cluster's nodes
STARTING_SECONDS = 600.0  # without any worker
POLL_SECONDS = 1.0


class RayRunError(ValueError):
    """A run on a Ray cluster cannot go on. What its workers wrote stays."""


@dataclass(frozen=True)
class WorkerDied:
    """Takes the place of an outcome where the worker died before it returned one."""

    error: Exception


class WorkerPool:
    """One worker on each GPU; where the cluster has none, one on each node or, if `single`, on each core.

    Nodes come and go. A worker is an actor of class `kind`, made from `arguments`, `cores` and `gpu`; it has a method
    `start`.
    """

    def __init__(self, ray: Any, kind: type, arguments: tuple[Any, ...], *, device: str, single: bool = False) -> None:
        """`ray` is the module, connected. Raises RayRunError for a device that the cluster lacks."""
        self.ray = ray
        self.kind, self.arguments, self.single = kind, arguments, single
        self.nodes: dict[Any, str] = {}  # worker -> its node
        self.starting: dict[Any, Any] = {}  # reference -> worker
        self.running: dict[Any, tuple[Any, Any]] = {}  # reference -> worker, and the item it works on
        self.idle: deque[Any] = deque()
        self.failed_starts: Counter[str] = Counter()  # one after another, by node
        self.checked_at = 0.0
        self.empty_since = time.monotonic()
        gpus = any(_count(node, "GPU") for node in self._alive())
        if device.startswith("cuda") and not gpus:
            raise RayRunError(
                "--device cuda: no node of this Ray cluster has a GPU; leave it out, or start Ray with GPUs"
            )
        self.gpu = gpus and device.startswith(("auto", "cuda"))

    def __len__(self) -> int:
        return len(self.nodes)

    def start_workers(self) -> None:
        """Start a worker wherever one is lacking. Raises RayRunError where none ever starts."""
        now = time.monotonic()
        if len(self) > len(self.starting):
            self.empty_since = now
        elif now - self.empty_since > STARTING_SECONDS:
            raise RayRunError(
                f"no Ray worker started within {STARTING_SECONDS:.0f} s; see by `ray status` whether a node has its "
                "cores free"
            )
        if now - self.checked_at < CHECK_SECONDS:
            return
        self.checked_at = now
        for node in self._alive():
            name, wanted = node["NodeID"], self._wanted(node)
            if self.failed_starts[name] >= ATTEMPTS:
                continue
            for _ in range(wanted - list(self.nodes.values()).count(name)):
                self._start(name, 1 if self.single else max(1, _count(node, "CPU") // wanted))

    def assign(self, worker: Any, reference: Any, item: Any) -> None:
        """Note that an idle worker runs `item`, whose result will be `reference`."""
        self.idle.remove(worker)
        self.running[reference] = worker, item

    def collect(self) -> Iterator[tuple[Any, Any, Any]]:
        """Wait a moment, then yield each worker that finished or died: worker, item, outcome or WorkerDied.

        Those that finished are idle again. Raises RayRunError for an exception that a worker raised.
        """
        references = [*self.starting, *self.running]
        if not references:
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self.ray.wait(references, timeout=POLL_SECONDS)
        for reference in ready:
            started = reference in self.starting
            worker, item = (self.starting.pop(reference), None) if started else self.running.pop(reference)
            node = self.nodes.get(worker, "")
            try:
                outcome = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as error:
                raise _run_error(error) from error.cause
            except self.ray.exceptions.RayError as error:
                self.remove(worker)
                outcome = WorkerDied(error)
            else:
                self.idle.append(worker)
            if started:
                self._count_start(node, outcome)
            else:
                yield worker, item, outcome

    def remove(self, worker: Any) -> None:
        """End a worker, which may be dead already."""
        self.nodes.pop(worker, None)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(worker)

    def close(self) -> None:
        for worker in list(self.nodes):
            self.remove(worker)

    def _start(self, node: str, cores: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self.ray.remote(self.kind).options(
            num_cpus=cores,
            num_gpus=1 if self.gpu else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        worker = actor.remote(*self.arguments, cores=cores, gpu=self.gpu)
        self.nodes[worker] = node
        self.starting[worker.start.remote()] = worker

    def _count_start(self, node: str, outcome: Any) -> None:
        """Give up a node on which worker after worker died while it started. Raises RayRunError if no other is left.

        The cluster may call a node alive for half a minute after its death.
        """
        self.failed_starts[node] = self.failed_starts[node] + 1 if isinstance(outcome, WorkerDied) else 0
        nodes = {one["NodeID"] for one in self._alive() if self._wanted(one)} | {node}
        given_up = all(self.failed_starts[name] >= ATTEMPTS for name in nodes)
        if given_up and not self.nodes:
            error = outcome.error
            raise RayRunError(f"{ATTEMPTS} Ray workers died while they started: {_line(error)}") from error

    def _wanted(self, node: Mapping[str, Any]) -> int:
        if self.gpu:
            return _count(node, "GPU")
        return _count(node, "CPU") if self.single else min(1, _count(node, "CPU"))

    def _alive(self) -> list[Mapping[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]


def _run_error(error: Any) -> RayRunError:
    """An exception that a worker raised, as one line for the user."""
    cause = error.cause
    kind = "" if isinstance(cause, (ValueError, OSError)) else f"{type(cause).__name__}: "
    return RayRunError(f"a Ray worker stopped: {kind}{_line(cause)}; what was written stays, run the command again")


def _count(node: Mapping[str, Any], resource: str) -> int:
    return int(node["Resources"].get(resource, 0))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
