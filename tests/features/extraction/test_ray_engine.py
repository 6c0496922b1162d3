"""A Ray cluster gives what a single process gives, whichever of its workers and nodes die meanwhile."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import NODE, two_nodes, workers

from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction import ray_cluster
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.extract import extract
from msa.features.extraction.plan import EncoderReport
from msa.features.extraction.ray_engine import extract_on_ray
from msa.features.extraction.ray_worker import OpenRequest
from msa.features.extraction.settings import ExtractSettings
from msa.features.extraction.worker_pool import RayRunError
from msa.features.installation import install_line
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.errors import BadRecord, read_errors
from msa.features.store.store import Store, stored_specs

TEXTS = [*(f"text {n % 600}" for n in range(640)), "unknown", "unknown 2", None, "", "unknown"]
SETTINGS = ExtractSettings(device="cpu", batch_tokens=60, flush_seconds=0.05)
Content = dict[str, dict[str, tuple[bytes, bytes]]]


@pytest.fixture(scope="module")
def fakes() -> Iterator[Any]:
    """The module `ray_fakes`, from this folder, which worker processes import from as well."""
    folder = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")])))
        yield importlib.import_module("ray_fakes")


@pytest.fixture(scope="module")
def cluster(fakes: Any) -> Iterator[Any]:
    """A cluster whose workers find the fakes."""
    with two_nodes() as started:
        yield started


def corpus(folder: Path, texts: list[str | None]) -> Corpus:
    return Corpus(folder, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def content(cache: Path) -> Content:
    """Per encoder and key, the bytes of the pooled vector and of the tokens."""
    found: Content = {}
    for spec in stored_specs(cache):
        store = Store.open(cache, spec)
        store.verify()
        rows: dict[str, tuple[bytes, bytes]] = {}
        for _, block in store.read(store.keys, tokens=True):
            assert block.tokens is not None
            assert block.offsets is not None
            for at, key in enumerate(block.keys):
                tokens = block.tokens[block.offsets[at] : block.offsets[at + 1]]
                rows[key.decode()] = block.pooled[at].tobytes(), tokens.tobytes()
        found[spec.slug] = rows
    return found


def errors(cache: Path) -> list[BadRecord]:
    return [record for spec in stored_specs(cache) for record in read_errors(cache / spec.slug)]


def plain(report: EncoderReport) -> dict[str, Any]:
    return {k: v for k, v in vars(report).items() if k not in ("path", "seconds")}


def in_mid_run(cache: Path, act: Callable[[], bool]) -> tuple[threading.Thread, list[int]]:
    """Act, until that succeeds, once the first part is written; the list gets the number of parts at that moment."""
    seen: list[int] = []

    def watch() -> None:
        until = time.monotonic() + 400
        while time.monotonic() < until:
            parts = len(list(cache.glob("*/part-*.h5")))
            if parts and act():
                seen.append(parts)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread, seen


def on_ray(cluster: Any, fakes: Any, posts: Corpus, cache: Path, **more: Any) -> EncoderReport:
    request = fakes.FakeRequest(cache.absolute())
    (report,) = extract_on_ray(posts, request.open(), request, cache, SETTINGS, address=cluster.address, **more)
    return report


def alone(fakes: Any, posts: Corpus, cache: Path) -> EncoderReport:
    (report,) = embed_corpus(posts, fakes.FakeRequest(cache).open(), cache, SETTINGS)
    return report


def kill_one(cluster: Any) -> bool:
    busy = workers(cluster, "EmbedWorker.embed")
    if busy:
        os.kill(busy[0], signal.SIGKILL)
    return bool(busy)


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_changes_nothing(tmp_path: Path, cluster: Any, fakes: Any) -> None:
    posts = corpus(tmp_path, TEXTS)
    ticks: list[tuple[str, int, int]] = []
    killer, seen = in_mid_run(tmp_path / "ray", lambda: kill_one(cluster))
    report = on_ray(cluster, fakes, posts, tmp_path / "ray", progress=lambda *tick: ticks.append(tick))
    killer.join()
    assert seen
    assert plain(report) == plain(alone(fakes, posts, tmp_path / "single"))
    assert (report.encoded, report.duplicate, report.missing, report.bad) == (600, 40, 2, 3)
    assert content(tmp_path / "ray") == content(tmp_path / "single")
    assert errors(tmp_path / "ray") == errors(tmp_path / "single")
    assert len(list((tmp_path / "ray").glob("*/part-*.h5"))) == 1
    assert ticks[-1] == ("fake", 600, 600)
    assert [done for _, done, _ in ticks] == sorted(done for _, done, _ in ticks)
    assert on_ray(cluster, fakes, posts, tmp_path / "ray").cached == 600


@pytest.mark.slow
def test_a_node_lost_and_one_joined_in_mid_run_change_nothing(tmp_path: Path, cluster: Any, fakes: Any) -> None:
    posts = corpus(tmp_path, [f"text {n} {n * n}" for n in range(2500)])
    seen: list[int] = []

    def swap(name: str, done: int, total: int) -> None:
        if not seen:
            cluster.remove_node(*cluster.worker_nodes, allow_graceful=False)
            cluster.add_node(**NODE)
        seen.append(done)

    report = on_ray(cluster, fakes, posts, tmp_path / "ray", progress=swap)
    assert len(seen) > 10
    assert (report.encoded, report.bad) == (2500, 0)
    alone(fakes, posts, tmp_path / "single")
    assert content(tmp_path / "ray") == content(tmp_path / "single")


@pytest.mark.slow
def test_an_encoder_that_fails_is_one_line_and_what_was_written_stays(tmp_path: Path, cluster: Any, fakes: Any) -> None:
    texts: list[str | None] = [*(f"text {n}" for n in range(400)), "broken", *(f"more {n}" for n in range(400))]
    posts = corpus(tmp_path, texts)
    with pytest.raises(RayRunError, match="RuntimeError: the model is broken; what was written stays") as failed:
        on_ray(cluster, fakes, posts, tmp_path / "ray")
    assert "\n" not in str(failed.value)
    written = len(content(tmp_path / "ray")[fakes.SPEC.slug])
    assert 100 < written < 800
    mended = corpus(tmp_path, [text for text in texts if text != "broken"])
    report = on_ray(cluster, fakes, mended, tmp_path / "ray")
    assert (report.encoded, report.cached) == (800 - written, written)
    assert not list((tmp_path / "ray").glob(".*.tmp"))


@pytest.mark.slow
def test_the_command_on_a_cluster_equals_the_command_alone(tmp_path: Path, cluster: Any) -> None:
    """minilm and a fit, one worker killed: the numbers of OpenVINO do not depend on what else is in a batch."""
    words = ["such", "a", "lovely", "day", "in", "the", "park", "with", "all", "my", "friends"]
    texts = [" ".join(words[: 1 + n % 11]) + f" {n}" for n in range(1200)]
    posts = [{"id": str(n), "image": None, "text": text, "label": "a"} for n, text in enumerate([*texts, "☃", "☃"])]
    (tmp_path / "posts.jsonl").write_text("\n".join(map(json.dumps, posts)))
    call = [sys.executable, "-m", "msa.cli", "extract", "posts.jsonl", "--image", "none", "--json"]
    call += ["--text", "minilm", "--text", "gensim:word2vec"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "RAY_ADDRESS": cluster.address}
    killer, seen = in_mid_run(tmp_path / "ray", lambda: kill_one(cluster))
    ours = subprocess.run(
        [*call, "--cache", "ray", "--engine", "ray"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    killer.join()
    assert (ours.returncode, bool(seen)) == (0, True), ours.stderr
    single = subprocess.run([*call, "--cache", "single"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    reports = [json.loads(done.stdout)["encoders"] for done in (ours, single)]
    for mine, theirs in zip(*reports, strict=True):
        assert {k: v for k, v in mine.items() if k not in ("path", "seconds")} == {
            k: v for k, v in theirs.items() if k not in ("path", "seconds")
        }
    assert content(tmp_path / "ray") == content(tmp_path / "single")
    assert errors(tmp_path / "ray") == errors(tmp_path / "single")
    assert len(errors(tmp_path / "ray")) == 2


@pytest.mark.slow
def test_without_an_address_a_cluster_lives_as_long_as_the_run(
    tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "available_cores", lambda: 1)
    posts = corpus(tmp_path, TEXTS[:60])
    request = fakes.FakeRequest(tmp_path / "cache")
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # a short path for sockets
        monkeypatch.setenv("RAY_TMPDIR", folder)
        (report,) = extract_on_ray(posts, request.open(), request, tmp_path / "cache", SETTINGS)
        assert list(Path(folder).iterdir())
    assert report.encoded == 60
    assert not ray.is_initialized()


def test_without_ray_the_line_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RayRunError, match=re.escape(install_line("ray"))):
        extract_on_ray(
            corpus(tmp_path, ["a"]), [], OpenRequest(EncoderRequest((), ()), (), tmp_path, tmp_path), tmp_path
        )


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    request = EncoderRequest((), ("minilm",))
    with pytest.raises(RayRunError, match=r"no Ray cluster answers at '127.0.0.1:1' .*RAY_ADDRESS"):
        extract(corpus(tmp_path, ["a"]), request, tmp_path / "cache", ray="127.0.0.1:1")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_interrupted_says_what_is_kept_and_goes_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    posts = [{"id": str(n), "image": None, "text": f"such a lovely day {n}", "label": "a"} for n in range(3000)]
    (tmp_path / "posts.jsonl").write_text("\n".join(map(json.dumps, posts)))
    call = [sys.executable, "-m", "msa.cli", "extract", "posts.jsonl", "--image", "none", "--text", "minilm", "--json"]
    call += ["--cache", "ray", "--engine", "ray"]
    with two_nodes() as cluster:  # none of whose nodes another test has killed
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "RAY_ADDRESS": cluster.address}
        first = subprocess.Popen(call, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        killer, seen = in_mid_run(tmp_path / "ray", lambda: first.send_signal(number) is None)
        printed = first.communicate(timeout=120)[1]
        killer.join()
        assert (first.returncode, bool(seen)) == (code, True), printed
        assert "msa: interrupted; " in printed
        assert "Traceback" not in printed
        assert not list((tmp_path / "ray").glob(".*.tmp"))
        again = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
    (report,) = json.loads(again.stdout)["encoders"]
    assert report["encoded"] + report["cached"] == 3000
    assert report["cached"] > 0
