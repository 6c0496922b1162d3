"""Heads that train in processes of their own end as those that train here; nobody is left behind when it ends badly."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cached_sweeps
import pytest
from cached_posts import cached_posts
from cached_sweeps import outcome

from msa.features.posts.samples import Corpus
from msa.pipeline.config.search_config import Search
from msa.pipeline.sweeps import engine, local_workers
from msa.pipeline.sweeps.engine import Processes, process_count
from msa.pipeline.sweeps.leaderboard import SweepResult
from msa.pipeline.sweeps.local_workers import Process, ProcessPool

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found by /proc, which Linux has")

sweep_module = importlib.import_module("msa.pipeline.sweeps.sweep")


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes for however few heads, on a machine with one core, too."""
    monkeypatch.setattr(engine, "HEADS", 1)
    monkeypatch.setattr(engine, "available_cores", lambda: 2)


def search(corpus: Corpus, runs: Path, outer: int = 1, **more: Any) -> SweepResult:
    return cached_sweeps.search(corpus, runs, Search(trials=8, inner=2, halving=2, batch=4, outer=outer), **more)


def workers() -> list[int]:
    """The processes that train and still run: copies of the one that this one started for it."""
    servers = [child for child in children(os.getpid()) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [child for server in servers for child in children(server)]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_the_leaderboard_is_that_of_threads(posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over two outer folds and two batches each: chunks of one batch never get into the next."""
    here = search(posts, tmp_path / "threads", outer=2)
    monkeypatch.setattr(engine, "HEADS", 1)
    monkeypatch.setattr(engine, "available_cores", lambda: 2)
    sent: list[int] = []
    send = ProcessPool.send
    monkeypatch.setattr(
        ProcessPool,
        "send",
        lambda self, worker, table, task, work: (
            sent.append(task.new is not None),
            send(self, worker, table, task, work),
        ),
    )
    assert outcome(search(posts, tmp_path / "processes", outer=2)) == outcome(here)
    assert sum(sent) > 8
    assert not workers()


def test_few_heads_start_no_process(posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (process_count(2, 127), process_count(2, 128), process_count(64, 1280), process_count(1, 10**6)) == (
        1,
        2,
        20,
        1,
    )
    monkeypatch.setattr(engine, "available_cores", lambda: 2)
    monkeypatch.setattr(local_workers, "Process", lambda: pytest.fail("no process is needed"))
    assert search(posts, tmp_path).best.outer["accuracy"] > 0


@pytest.mark.usefixtures("two_processes")
def test_few_heads_of_a_sweep_that_goes_on_stay_here(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ProcessPool(2)) as pool:
        processes = Processes(pool)
        monkeypatch.setattr(engine, "HEADS", 10**6)
        monkeypatch.setattr(processes.in_processes, "train_to", lambda *given: pytest.fail("these are too few"))

        @contextmanager
        def opened(*given: Any, **more: Any) -> Iterator[Processes]:
            yield processes

        monkeypatch.setattr(sweep_module, "open_engine", opened)
        assert search(posts, tmp_path).best.outer["accuracy"] > 0


@pytest.mark.usefixtures("two_processes")
def test_a_worker_that_dies_is_one_line_and_the_sweep_goes_on_later(posts: Corpus, tmp_path: Path) -> None:
    def kill(name: str, number: int, total: int) -> None:
        if number == 2:
            os.kill(workers()[0], signal.SIGKILL)
            time.sleep(0.2)

    with pytest.raises(
        ValueError, match=r"ended with exit code -9, perhaps for want of memory; run the same command again"
    ):
        search(posts, tmp_path, done=kill)
    assert not workers()
    started: list[int] = []
    found = search(posts, tmp_path, done=lambda name, number, total: started.append(number))
    assert started[0] >= 2
    assert len(found.rows[0]) == 8


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
import test_local_workers as here
from cached_posts import cached_posts
here.engine.HEADS = 1
here.engine.available_cores = lambda: 2
print("once", flush=True)
found = here.search(cached_posts(Path({folder!r})), Path({folder!r}, "runs"), done={done})
print(len(found.rows[0]), here.workers())
"""


def run_script(folder: Path, done: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    path = [str(Path(__file__).parent), *sys.path]
    script.write_text(SCRIPT.format(path=path, folder=str(folder), done=done))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    process = run_script(tmp_path, "lambda *given: None")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert output.split("\n") == ["once", "8 []", ""]


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    process = run_script(tmp_path, "lambda name, number, total: number and print(*here.workers(), flush=True)")
    assert process.stdout is not None
    assert process.stdout.readline() == "once\n"
    children = [int(child) for child in process.stdout.readline().split()]
    assert len(children) == 2
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_what_a_worker_raises_is_raised_here() -> None:
    process = Process()
    process.pipe.send((Path("missing"), "no task"))
    with pytest.raises(FileNotFoundError, match="missing") as raised:
        process.receive()
    process.stop()
    assert "local_workers.py" in raised.value.__notes__[0]
    assert not workers()
