"""A file of predictions: in blocks, resumed after an interruption, the same whatever the blocks, formats and shards."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_runs import CPU, SOURCES, N, Served, Spelled, served_run

from msa.features.extraction.shard import Shard
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.pipeline import predict
from msa.pipeline.predict import predict_corpus, predict_post
from msa.pipeline.runs.runs import load_run
from msa.pipeline.runs.seen_posts import read_seen_posts
from msa.pipeline.scoring import blocks, score
from msa.pipeline.scoring.score import Scored, score_corpus

KILLS = 10
LABELLED = N - 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served_run(tmp_path_factory.mktemp("posts"))


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (predict, score):
        monkeypatch.setattr(module, "run_sources", lambda *given: SOURCES)


def scored(served: Served, out: Path, **options: Any) -> Scored:
    return score_corpus(
        served.folder, served.corpus, out, **{"rows": "all", "block_posts": 10, "settings": CPU, **options}
    )


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def test_the_file_holds_what_predict_gives(served: Served, tmp_path: Path) -> None:
    expected = predict_corpus(served.folder, served.corpus, rows="all", settings=CPU)
    found = scored(served, tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text("utf-8-sig") == expected.to_csv().removeprefix("\ufeff")
    counted = {"posts": N, "bad": 2, "cut": 0, "blind": 0, "no image": 0, "no text": 0, "further images": 0}
    counted |= expected.known
    assert found.counts == counted
    assert sum(found.labels.values()) == N
    assert found.resumed == 0
    assert {one.name for one in tmp_path.iterdir()} >= {"scores.csv", "scores.csv.json", "scores.csv.errors.jsonl"}
    assert not (tmp_path / "scores.csv.blocks").exists()


def test_bad_parts_are_listed_with_their_reason(served: Served, tmp_path: Path) -> None:
    found = scored(served, tmp_path / "scores.csv", keep_features=False)
    assert found.errors is not None
    listed = [json.loads(line) for line in found.errors.read_text().splitlines()]
    assert [(one["id"], one["part"]) for one in listed] == [(f"p{N - 2}", "image"), (f"p{N - 1}", "image")]
    assert all(one["reason"] for one in listed)
    assert "2 images or texts could not be read" in found.to_text()


def test_texts_beyond_the_limit_are_counted(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spelled, "is_cut", lambda self, item, prepared: item == served.corpus.samples[0].text)
    found = scored(served, tmp_path / "scores.csv", keep_features=False)
    assert found.counts["cut"] == 1
    assert "1 new texts are longer than the encoder reads, and their ends were left out" in found.to_text()
    with pytest.warns(Notice, match="1 new texts are longer than what spelled reads"):
        predict_post(served.folder, image=None, text=str(served.corpus.samples[0].text), settings=CPU)


@pytest.mark.parametrize("keep_features", [True, False])
@pytest.mark.parametrize("block_posts", [1, 7, N, 1000])
def test_blocks_change_nothing(served: Served, tmp_path: Path, block_posts: int, keep_features: bool) -> None:
    scored(served, tmp_path / "ten.csv")
    scored(served, tmp_path / "other.csv", block_posts=block_posts, keep_features=keep_features)
    ten, other = rows(tmp_path / "ten.csv"), rows(tmp_path / "other.csv")
    for name in ten[0]:
        cells = [[row[name] for row in found] for found in (ten, other)]
        if name in ("id", "label"):
            assert cells[0] == cells[1]
        else:  # heads predict blocks together, and the last digit depends on which
            np.testing.assert_allclose(*np.array(cells, float), atol=1e-5)


def test_what_the_run_has_seen_is_read_once_for_all_blocks(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    monkeypatch.setattr(score, "read_seen_posts", lambda *paths: reads.append(paths) or read_seen_posts(*paths))
    few = scored(served, tmp_path / "few.csv", rows="all", block_posts=50)
    assert len(reads) == 1
    assert few.counts["trained"] > 0
    assert few.counts == scored(served, tmp_path / "one.csv", rows="all", block_posts=10_000).counts


def test_formats_hold_the_same_rows(served: Served, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in (".csv", ".jsonl", ".parquet"):
        scored(served, tmp_path / f"scores{suffix}")
    table = parquet.read_table(tmp_path / "scores.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert table == lines
    assert [{name: str(value) for name, value in line.items()} for line in lines] == rows(tmp_path / "scores.csv")


def test_shards_are_the_rows_of_the_whole(served: Served, tmp_path: Path) -> None:
    scored(served, tmp_path / "scores.csv")
    parts = [scored(served, tmp_path / "part.csv", shard=Shard(number, 3)).out for number in (1, 2, 3)]
    assert [part.name for part in parts] == [f"part-0000{number}-of-00003.csv" for number in (1, 2, 3)]
    together: list[Any] = [None] * N
    for number, part in enumerate(parts):
        together[number::3] = rows(part)
    assert together == rows(tmp_path / "scores.csv")


def test_an_interrupted_command_continues(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(served, tmp_path / "whole.csv")
    out, write = tmp_path / "scores.csv", blocks.Blocks.write
    written: list[int] = []

    def interrupted(self: blocks.Blocks, block: int, *given: Any) -> None:
        write(self, block, *given)
        written.append(block)
        if block == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(blocks.Blocks, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scored(served, out)
    assert not out.exists()
    found = scored(served, out)
    assert written == [0, 1, 2, 3, 4]
    assert found.resumed == 30
    assert "30 of them by an earlier command" in found.to_text()
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_finished_file_is_left_as_it_is(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scored(served, tmp_path / "scores.csv")
    monkeypatch.setattr(score, "run_sources", lambda *given: pytest.fail("opened again"))
    again = scored(served, tmp_path / "scores.csv")
    assert (again.counts, again.labels, again.resumed) == (first.counts, first.labels, N)


@pytest.mark.parametrize("finished", [True, False])
def test_predictions_of_other_posts_are_refused(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    if not finished:
        monkeypatch.setattr(score, "_join_blocks", lambda *given, cut: pytest.fail("the end"))
        with pytest.raises(BaseException, match="the end"):
            scored(served, tmp_path / "scores.csv")
    else:
        scored(served, tmp_path / "scores.csv")
    with pytest.raises(
        ValueError, match=r"other predictions; delete .*scores\.csv\S* \(data differ\), or give another --"
    ):
        scored(served, tmp_path / "scores.csv", rows="unlabelled")
    with pytest.raises(ValueError, match=r"\(raw differ\)"):
        scored(served, tmp_path / "scores.csv", raw=True)


def test_a_file_of_unknown_origin_is_not_overwritten(served: Served, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("mine")
    with pytest.raises(ValueError, match="nothing says what it holds; give another --out"):
        scored(served, tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == "mine"


def test_blocks_of_less_than_no_posts_are_refused(served: Served, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--block-posts must be 1 or more, or 0 for the default; got -1"):
        scored(served, tmp_path / "scores.csv", block_posts=-1)


@pytest.mark.parametrize(("inputs", "posts"), [("pooled", 16_384), ("tokens", 2048)])
def test_blocks_of_heads_on_tokens_are_smaller(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Any, posts: int
) -> None:
    run = load_run(served.folder)
    run = replace(run, config=replace(run.config, fusion="attention", inputs=inputs))
    monkeypatch.setattr(score, "load_run", lambda folder: run)
    monkeypatch.setattr(score, "_plan", lambda run, corpus, block_posts, raw: pytest.fail(f"of {block_posts} posts"))
    with pytest.raises(BaseException, match=f"of {posts} posts"):
        scored(served, tmp_path / "scores.csv", block_posts=0)


def test_forgotten_features_leave_no_trace_in_the_cache(served: Served, tmp_path: Path) -> None:
    others = [replace(one, text=f"{one.text} again") for one in served.corpus.samples]
    before = sorted(served.cache.glob("*/part-*"))
    corpus = Corpus(served.corpus.root, "table", others)
    score_corpus(
        served.folder, corpus, tmp_path / "s.csv", rows="all", block_posts=20, keep_features=False, settings=CPU
    )
    assert sorted(served.cache.glob("*/part-*")) == before


CHILD = """
import sys, threading, os, signal
from pathlib import Path
from served_runs import CPU, SOURCES, draw_posts
from msa.features.posts.samples import Corpus
from msa.pipeline.scoring import score
score.run_sources = lambda *given: SOURCES
folder, out, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
corpus = draw_posts(Path(sys.argv[4]))
if seconds:
    threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
score.score_corpus(folder, corpus, out, rows="all", block_posts=2, settings=CPU, keep_features=False)
os._exit(0)
"""


def run_child(served: Served, out: Path, posts: Path, seconds: float) -> int:
    posts.mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path(__file__).parents[2] / "shared"), *sys.path])
    command = [sys.executable, "-c", CHILD, str(served.folder), str(out), str(seconds), str(posts)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


@pytest.mark.slow
def test_a_file_after_ten_kills_is_that_of_an_uninterrupted_command(served: Served, tmp_path: Path) -> None:
    draw = random.Random(0)
    posts = tmp_path / "posts"
    assert run_child(served, tmp_path / "whole.csv", posts, 0) == 0
    out, killed, longest = tmp_path / "scores.csv", 0, 0.4
    while killed < KILLS:
        code = run_child(served, out, posts, draw.uniform(0, longest))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        if code == 0:  # it was done first: the next one has less time
            out.unlink()
            longest /= 2
    assert run_child(served, out, posts, 0) == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [row["id"] for row in rows(out)] == [f"p{number}" for number in range(N)]
