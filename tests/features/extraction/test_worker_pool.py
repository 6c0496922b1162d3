"""The workers of a cluster: nodes on which none starts are given up, and the run ends where no other is left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from msa.features.extraction import worker_pool
from msa.features.extraction.worker_pool import ATTEMPTS, RayRunError, WorkerPool


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class FakeRay:
    """A cluster; on its `dead` nodes every worker dies while it starts, on `slow` ones none has started yet."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, nodes: str, dead: str, slow: str = "") -> None:
        self.names, self.dead, self.slow = nodes, dead, slow

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True, "Resources": {"CPU": 1.0}} for name in self.names]

    def wait(self, references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return [one for one in references if one[0] not in self.slow], []

    def get(self, reference: str) -> None:
        if reference[0] in self.dead:
            raise RayError("the node is gone")

    def kill(self, worker: str) -> None:
        pass


class Pool(WorkerPool):
    started = 0

    def _start(self, node: str, cores: int) -> None:
        self.started += 1
        name = f"{node}{self.started}"
        self.nodes[name] = node
        self.starting[name] = name


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "CHECK_SECONDS", 0.0)


def look(pool: Pool, times: int) -> None:
    for _ in range(times):
        pool.start_workers()
        assert not list(pool.collect())  # nothing but starts


def test_a_node_that_is_gone_but_called_alive_ends_no_run_on_another() -> None:
    ray = FakeRay("ab", dead="a", slow="b")
    pool = Pool(ray, object, (), device="cpu")
    look(pool, 3 * ATTEMPTS)
    assert pool.started == ATTEMPTS + 1  # the node is given up
    ray.slow = ""
    look(pool, 1)
    assert list(pool.idle) == ["b2"]


def test_where_workers_die_on_every_node_the_run_ends() -> None:
    pool = Pool(FakeRay("ab", dead="ab"), object, (), device="cpu")
    with pytest.raises(RayRunError, match="4 Ray workers died while they started: the node is gone"):
        look(pool, 3 * ATTEMPTS)
    assert pool.started == 2 * ATTEMPTS
