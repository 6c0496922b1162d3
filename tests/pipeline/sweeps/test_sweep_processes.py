"""Sweeps in processes of their own: killed, side by side on one study, and on labels that mean nothing."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from msa.features.posts.samples import Corpus
from msa.pipeline.config.search_config import Search


@pytest.fixture(scope="module")
def sweeps() -> Any:
    """The module beside this one, whose posts and search these tests share."""
    found = spec_from_file_location("test_sweep", Path(__file__).with_name("test_sweep.py"))
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def posts(sweeps: Any, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made: Corpus = sweeps.cached_posts(tmp_path_factory.mktemp("posts"), 150, signal=2.0)
    return made


SCRIPT = """
import pickle, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_sweep as t
corpus = pickle.loads(Path({corpus!r}).read_bytes())
how = t.replace(t.SEARCH, trials={trials}, batch={batch}, study={study!r})
ticks = lambda name, done, total: print(done, flush=True)
found = t.search(corpus, Path({runs!r}), how, done=ticks)
"""


def start(posts: Corpus, folder: Path, *, runs: str, study: str, trials: int = 24, batch: int = 6) -> Any:
    (folder / "corpus").write_bytes(pickle.dumps(posts))
    script = SCRIPT.format(
        tests=str(Path(__file__).parent),
        corpus=str(folder / "corpus"),
        trials=trials,
        batch=batch,
        study=study,
        runs=str(folder / runs),
    )
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def kill(process: Any) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_sweep_goes_on(sweeps: Any, posts: Corpus, tmp_path: Path) -> None:
    how = replace(sweeps.SEARCH, trials=24, batch=6)
    for _ in range(2):
        process = start(posts, tmp_path, runs="runs", study="")
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) % 6 == 3:
                break
        kill(process)
    again = sweeps.search(posts, tmp_path / "runs", how)
    whole = sweeps.search(posts, tmp_path / "whole", how)
    assert sweeps.outcome(again) == sweeps.outcome(whole)
    assert again.best.config() == whole.best.config()


def share(sweeps: Any, posts: Corpus, tmp_path: Path, url: str) -> None:
    """Two processes on one study, one of them killed and replaced: 24 trials, none twice, those of one process."""
    one, two = (start(posts, tmp_path, runs=name, study=url) for name in ("one", "two"))
    assert one.stdout is not None
    one.stdout.readline()
    one.stdout.readline()
    kill(one)
    three = start(posts, tmp_path, runs="three", study=url)
    for process in (two, three):
        process.communicate(timeout=300)
        assert process.returncode == 0
    whole = sweeps.search(posts, tmp_path / "whole", replace(sweeps.SEARCH, trials=24, batch=6))
    boards = [json.loads((tmp_path / name / "sweep" / "sweep.json").read_text()) for name in ("two", "three")]
    for board in boards:
        found = {line["trial"]: (line["point"], line["state"]) for line in board["leaderboard"]}
        assert len(board["leaderboard"]) == len(found) == 24
        assert found == {row.index: (row.point, row.state) for row in whole.rows[0]}
        assert board["best"]["trial"] == whole.best.index


@pytest.mark.slow
def test_two_processes_share_a_study(sweeps: Any, posts: Corpus, tmp_path: Path) -> None:
    share(sweeps, posts, tmp_path, str(tmp_path / "study.db"))


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server of the test's own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file():
        pytest.skip("PostgreSQL is not installed")
    home, sockets = tmp_path / "server", tmp_path / "s"
    sockets.mkdir()
    user = ["runuser", "-u", "nobody", "--"] if Path.home() == Path("/root") else []
    if user:
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o777)
        sockets.chmod(0o777)
    begin = [*user, str(found[-1]), "-D", str(home), "-U", "msa", "--auth", "trust"]
    made = subprocess.run(begin, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"PostgreSQL cannot be started here: {made.stderr[-200:]}")
    server = [*user, str(found[-1].parent / "postgres"), "-D", str(home), "-k", str(sockets), "-h", ""]
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(sockets.glob(".s.PGSQL.*")):
        time.sleep(0.1)
        assert process.poll() is None
    time.sleep(1)
    yield f"postgresql+psycopg://msa@/postgres?host={sockets}"
    stop = [*user, str(found[-1].parent / "pg_ctl"), "-D", str(home), "-m", "immediate", "stop"]
    subprocess.run(stop, stdout=subprocess.DEVNULL, check=True)
    process.wait()


@pytest.mark.slow
def test_two_processes_share_a_study_in_postgresql(sweeps: Any, posts: Corpus, tmp_path: Path, postgres: str) -> None:
    share(sweeps, posts, tmp_path, postgres)


@pytest.mark.slow
def test_noise_stays_noise_after_256_trials(sweeps: Any, tmp_path: Path) -> None:
    """The best of 256 looks better than chance where it was chosen, and no better on the rows kept out of it."""
    noise = sweeps.cached_posts(tmp_path, 500, signal=0.0)
    space = ["lr=1e-4..1e-1", "hidden=4,8", "dropout=0.0..0.5", "weight_decay=1e-3..1"]
    found = sweeps.search(noise, tmp_path / "runs", Search(trials=256, inner=2, outer=3), settings=space)
    assert found.trials == 3 * 256
    majority = found.baselines["majority"]["accuracy"]["mean"]
    error = (majority * (1 - majority) / 500) ** 0.5
    assert found.outer["accuracy"]["mean"] <= majority + 2.5 * error
