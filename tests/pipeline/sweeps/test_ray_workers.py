"""A sweep whose heads train elsewhere: the leaderboard is the local one, whichever workers and nodes die meanwhile."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cached_sweeps
import pytest
from cached_posts import cached_posts, stage
from cached_sweeps import CONCAT, TO_THE_END, outcome, without_times
from clusters import NODE, two_nodes, workers

from msa.features.extraction import ray_cluster
from msa.features.extraction.worker_pool import ATTEMPTS, RayRunError, WorkerDied
from msa.features.installation import install_line
from msa.features.posts.samples import Corpus
from msa.pipeline.commands.options import Cluster
from msa.pipeline.config.search_config import Search
from msa.pipeline.data.prepare import prepare
from msa.pipeline.fused import chunks
from msa.pipeline.fused.chunks import plan_chunks
from msa.pipeline.sweeps.chunk import Chunk, HeadResult, TrialHead
from msa.pipeline.sweeps.leaderboard import SweepResult
from msa.pipeline.sweeps.ray_workers import RayPool
from msa.pipeline.sweeps.worker import Rung, Task, Worker
from msa.pipeline.sweeps.worker_engine import WorkerEngine
from msa.pipeline.training.jobs import Experiment
from msa.pipeline.training.loop import training_threads

sweep_module = importlib.import_module("msa.pipeline.sweeps.sweep")


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


HOW = Search(trials=12, inner=3, halving=2, batch=6)
GREEDY = replace(HOW, ensemble="greedy")


def search(corpus: Corpus, runs: Path, how: Search = HOW, **more: Any) -> SweepResult:
    return cached_sweeps.search(corpus, runs, how, **more)


class FakeWorker:
    """A worker in this process. What goes to it and comes back is pickled, as on a cluster."""

    def __init__(self) -> None:
        self.worker = Worker(cores=1, gpu=False)
        self.train = SimpleNamespace(remote=lambda *given: (self, pickle.dumps(given[1:]), given[0]))

    def answer(self, given: Any) -> Any:
        name, task = pickle.loads(given[1])
        with training_threads(1):
            return pickle.loads(pickle.dumps(self.worker.train(given[2].table, name, task)))


class FakePool(RayPool):
    """Workers of this process, of which the one dies that has the n-th task, for each n in `deaths`.

    `count` is how many there are once so many tasks are done.
    """

    def __init__(
        self, ray: Any, deaths: Callable[[int], bool] = lambda task: False, count: Callable[[int], int] = lambda task: 2
    ) -> None:
        self.ray, self.gpu = ray, False
        self.deaths, self.count, self.tasks, self.removed = deaths, count, 0, 0
        self.trained: list[Any] = []  # the worker of each task
        self.idle: deque[Any] = deque()
        self.running: dict[Any, Any] = {}
        self.nodes: dict[Any, str] = {}

    def start_workers(self) -> None:
        while len(self.nodes) < self.count(self.tasks):
            worker = FakeWorker()
            self.nodes[worker] = "here"
            self.idle.append(worker)

    def assign(self, worker: Any, reference: Any, item: Any) -> None:
        self.idle.remove(worker)
        self.running[reference] = worker, item

    def collect(self) -> Iterator[Any]:
        reference = next(iter(self.running))
        worker, work = self.running.pop(reference)
        self.tasks += 1
        self.trained.append(worker)
        if self.deaths(self.tasks):
            del self.nodes[worker]
            self.removed += 1
            yield worker, work, WorkerDied(RuntimeError("killed"))
        else:
            self.idle.append(worker)
            yield worker, work, worker.answer(reference)


@dataclass(eq=False)
class Placed:
    """Stands for the reference of a table in the cluster."""

    table: Any

    def hex(self) -> str:
        return str(id(self.table))


def fake_ray() -> Any:
    puts: list[Any] = []
    return SimpleNamespace(put=lambda table: puts.append(table) or Placed(table), puts=puts)


def use(pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(*given: Any, **more: Any) -> Iterator[WorkerEngine]:
        yield WorkerEngine(pool)

    monkeypatch.setattr(sweep_module, "open_engine", opened)


def test_deaths_change_nothing_and_a_table_travels_once(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = search(posts, tmp_path / "local", GREEDY)
    ray = fake_ray()
    pool = FakePool(ray, lambda task: task in (2, 3, 9, 10, 15))
    use(pool, monkeypatch)
    found = search(posts, tmp_path / "ray", GREEDY, ray="")
    assert outcome(found) == outcome(local)
    assert found.ensemble
    assert local.ensemble
    assert found.ensemble.members == local.ensemble.members
    assert pool.removed == 5
    assert len(ray.puts) == 1


def test_neither_the_number_of_workers_nor_those_that_come_and_go_change_a_byte(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "BOUNDED", 2)
    pools = {
        "one": FakePool(fake_ray(), count=lambda task: 1),
        "two": FakePool(fake_ray(), lambda task: task in (3, 20)),
        "four": FakePool(fake_ray(), count=lambda task: 4),
        "one, then three": FakePool(fake_ray(), count=lambda task: 1 if task < 15 else 3),
    }
    written = {}
    for name, pool in pools.items():
        use(pool, monkeypatch)
        written[name] = without_times(search(posts, tmp_path / name, replace(HOW, batch=12)))
    assert written["two"] == written["four"] == written["one, then three"] == written["one"]
    joined = pools["one, then three"].trained
    assert len(set(joined)) == 3
    assert min(map(joined[15:].count, set(joined))) >= 3  # they take over what the first one holds


def test_a_chunk_that_kills_every_worker_ends_the_run(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(FakePool(fake_ray(), lambda task: True), monkeypatch)
    with pytest.raises(RayRunError, match=rf"{ATTEMPTS} Ray workers died over the same \d+ heads"):
        search(posts, tmp_path, ray="")


def test_a_worker_that_trains_a_chunk_again_returns_the_same_bit_by_bit(posts: Corpus) -> None:
    table, folds, _ = prepare(posts, stage(posts), CONCAT, seed=0)
    experiments = [Experiment(CONCAT, replace(TO_THE_END, lr=lr)) for lr in (1e-3, 1e-2, 3e-2)]
    (jobs, *_) = plan_chunks(table, folds[:1], experiments, threads=1).chunks
    heads = [TrialHead(job.experiment, experiments[job.experiment], job) for job in jobs]
    assert len(heads) == 3
    first, then = Rung(4, frozenset({0, 1, 2})), Rung(8, frozenset({0, 2}))
    needed = frozenset({7})
    with training_threads(1):
        staying, other = Worker(cores=1, gpu=False), Worker(cores=1, gpu=False)
        staying.train(table, "table", Task(7, first, (), needed, Chunk(folds, heads)))
        one = staying.train(table, "table", Task(7, then, (first,), needed))
        two = other.train(table, "table", Task(7, then, (first,), needed, Chunk(folds, heads)))

    assert {heads[at].trial for at, _ in one} == {heads[at].trial for at, _ in two} == {0, 2}
    for (_, mine), (_, theirs) in zip(one, two, strict=True):
        assert isinstance(mine, HeadResult)
        assert isinstance(theirs, HeadResult)
        assert mine.logits[0].tobytes() == theirs.logits[0].tobytes()
    staying.train(table, "table", Task(8, first, (), frozenset({8}), Chunk(folds, heads)))
    assert list(staying.chunks) == [8]


def test_what_keeps_a_sweep_from_a_cluster_is_one_line(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="--ray-address here:1 is for Ray; add --engine ray"):
        Cluster(ray_address="here:1")
    assert (Cluster().address, Cluster("ray", "here:1").address) == (None, "here:1")
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RayRunError, match=re.escape(install_line("ray"))):
        search(posts, tmp_path, ray="")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as started:
        yield started


@pytest.mark.slow
def test_workers_killed_during_a_sweep_change_nothing(
    posts: Corpus, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed over its first chunk, one between two rungs, with heads that nobody else holds."""
    local = search(posts, tmp_path / "local")
    killed: list[str] = []
    send = RayPool.send

    def send_and_kill(pool: RayPool, worker: Any, *given: Any) -> None:
        if killed:
            send(pool, worker, *given)
            return
        process = pool.ray.get(worker.__ray_call__.remote(lambda worker: os.getpid()))
        os.kill(process, signal.SIGSTOP)  # a chunk takes milliseconds: it must not be done before the kill
        send(pool, worker, *given)
        os.kill(process, signal.SIGKILL)
        killed.append("over a chunk")

    def done(name: str, number: int, total: int) -> None:
        if number == 1 and (found := workers(cluster, "Worker")):
            os.kill(found[0], signal.SIGKILL)
            killed.append("between two rungs")

    monkeypatch.setattr(RayPool, "send", send_and_kill)
    found = search(posts, tmp_path / "ray", ray=cluster.address, done=done)
    assert killed == ["over a chunk", "between two rungs"]
    assert outcome(found) == outcome(local)


@pytest.mark.slow
def test_a_node_lost_over_a_chunk_and_those_that_join_change_no_byte(
    posts: Corpus, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two nodes, then on one, then on three."""
    quiet = search(posts, tmp_path / "quiet", ray=cluster.address)
    lost: list[Any] = []
    send = RayPool.send

    def send_and_lose(pool: RayPool, worker: Any, *given: Any) -> None:
        process = 0 if lost else pool.ray.get(worker.__ray_call__.remote(lambda worker: os.getpid()))
        nodes = list(cluster.worker_nodes)
        if process not in workers(cluster, "Worker", nodes=nodes):
            send(pool, worker, *given)
            return
        os.kill(process, signal.SIGSTOP)  # a chunk takes milliseconds: it must not be done before the node is lost
        send(pool, worker, *given)
        cluster.remove_node(*nodes, allow_graceful=False)
        lost.extend(nodes)
        for _ in range(2):
            cluster.add_node(**NODE)

    monkeypatch.setattr(RayPool, "send", send_and_lose)
    found = search(posts, tmp_path / "ray", ray=cluster.address)
    assert len(lost) == 1
    assert without_times(found) == without_times(quiet)
    assert outcome(found) == outcome(search(posts, tmp_path / "local"))
