"""Shards need not know of each other: in any order, at once or killed, they leave what a single run leaves."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.encoders import word_vectors as static
from msa.features.encoders.encoder import Encoded, Encoder, EncoderOptions, Source
from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction import shard
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.extract import extract
from msa.features.extraction.plan import EncoderReport
from msa.features.extraction.settings import ExtractSettings
from msa.features.extraction.shard import Shard, read_shard, share_machine
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import BadItem, EncoderSpec
from msa.features.store.errors import BadRecord, read_errors
from msa.features.store.store import Store, stored_specs

SPEC = EncoderSpec("fake", "text", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float32")
TEXTS = [*(f"{n % 7 * 'word '}{n % 50}" for n in range(80)), "bad", "bad", "one", "bad", None, "one", "worse"]
Content = dict[str, dict[str, tuple[bytes, bytes]]]


class Fake(Encoder):
    """Embeds a text by its letters; the bad ones cannot be embedded."""

    specs = (SPEC,)

    def preprocess(self, item: str, key: str = "") -> np.ndarray:
        if "bad" in item or "worse" in item:
            raise BadItem("no known word")
        return np.array([ord(letter) for letter in item], np.float32)

    def length(self, prepared: np.ndarray) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[np.ndarray]) -> tuple[Encoded, ...]:
        time.sleep(0.02)
        tokens = [np.outer(item, [1, 2, 3, 4]).astype(np.float32) for item in batch]
        return (Encoded(np.stack([item.mean(0) for item in tokens]), list(tokens)),)


def run(folder: Path, part: Shard | None = None) -> EncoderReport:
    corpus = Corpus(folder, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(TEXTS)])
    share = part.take(corpus) if part else corpus
    settings = ExtractSettings(device="cpu", streams=1, batch_tokens=60, flush_seconds=0.02)
    (report,) = embed_corpus(share, [Source((SPEC,), lambda _: Fake())], folder / "cache", settings, merge=part is None)
    assert report.encoded + report.cached + report.duplicate + report.missing + report.bad == len(share.samples)
    return report


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
    return sorted((r for spec in stored_specs(cache) for r in read_errors(cache / spec.slug)), key=repr)


def rows(cache: Path) -> int:
    """Rows of all parts, doubled ones as often as they stand there."""
    return sum(len(part) for spec in stored_specs(cache) for part in Store.open(cache, spec).parts)


@pytest.mark.parametrize("text", ["", "0/8", "9/8", "1/0", "-1/8", "1.5/8", "2", "2/", "a/b", "2/8/3", "Auto"])
def test_nonsense_is_refused_with_the_form_that_is_wanted(text: str) -> None:
    with pytest.raises(ValueError, match=r"--shard wants I/N.*2/8"):
        read_shard(text, {})


def test_shards_take_every_row_once_in_order() -> None:
    corpus = Corpus(Path(), "table", [Sample(str(n), None, None) for n in range(11)])
    shares = [[int(s.id) for s in read_shard(f"{n}/4").take(corpus).samples] for n in range(1, 5)]
    assert shares == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7]]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"RANK": "0", "WORLD_SIZE": "4"}, "1/4"),
        ({"RANK": "3", "WORLD_SIZE": "4", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "4/4"),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, "3/8"),
        ({"ID": "0", "MIN": "0", "MAX": "7", "COUNT": "8", "STEP": "1"}, "1/8"),
        ({"ID": "8", "MIN": "1", "MAX": "8", "COUNT": "8"}, "8/8"),
        ({"ID": "5", "MIN": "1", "MAX": "7", "COUNT": "4", "STEP": "2"}, "3/4"),
        ({"ID": "5", "MIN": "1", "MAX": "7", "COUNT": "4", "STEP": "1"}, "3/4"),
        ({"ID": "6", "MIN": "6", "MAX": "6", "COUNT": "1", "STEP": "1"}, "1/1"),
        ({"ID": "1", "MIN": "0", "MAX": "2", "COUNT": "3", "RANK": "1", "WORLD_SIZE": "2"}, "4/6"),
        ({"ID": "1", "MIN": "0", "MAX": "2", "COUNT": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "5"}, "2/3"),
    ],
)
def test_auto_is_the_place_that_torchrun_or_slurm_gave(environment: dict[str, str], wanted: str) -> None:
    given = {f"SLURM_ARRAY_TASK_{k}" if "_" not in k and k != "RANK" else k: v for k, v in environment.items()}
    assert str(read_shard("auto", given)) == wanted


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # a batch script that called no srun is one process, not four
        {"RANK": "1"},
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {f"SLURM_ARRAY_TASK_{k}": v for k, v in {"ID": "2", "MIN": "1", "MAX": "9", "COUNT": "3"}.items()},
    ],
)
def test_auto_without_a_clear_place_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"--shard .*I/N"):
        read_shard("auto", environment)


def test_processes_of_one_machine_share_its_gpus_or_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    third = {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4"}
    assert share_machine(ExtractSettings(), third).device == "cuda:0"
    assert share_machine(ExtractSettings(), {"SLURM_LOCALID": "1"}).device == "cuda:1"
    monkeypatch.setattr(shard, "available_cores", lambda: 8)
    placed = share_machine(ExtractSettings(device="cpu"), third)
    assert (placed.device, placed.streams, placed.workers) == ("cpu", 2, 2)
    assert share_machine(ExtractSettings(device="cpu", streams=3), third).streams == 3


CHILD = """
import importlib.util, sys
from pathlib import Path
found = importlib.util.spec_from_file_location("shards", sys.argv[1])
shards = importlib.util.module_from_spec(found)
found.loader.exec_module(shards)
shards.run(Path(sys.argv[2]), shards.read_shard(sys.argv[3]))
"""


def start(folder: Path, part: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, __file__, str(folder), part])


def test_shards_at_once_one_of_them_killed_and_rerun_leave_what_a_single_run_leaves(tmp_path: Path) -> None:
    (tmp_path / "single").mkdir()
    run(tmp_path / "single")
    folder = tmp_path / "shards"
    folder.mkdir()
    first = start(folder, "2/3")
    until = time.monotonic() + 30
    while first.poll() is None and not list(folder.glob("cache/*/part-*.h5")) and time.monotonic() < until:
        time.sleep(0.002)
    first.kill()
    first.wait()
    left = rows(folder / "cache")
    children = [start(folder, part) for part in ("3/3", "1/3", "2/3")]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert 0 < left < len(set(TEXTS)) - 3
    assert content(folder / "cache") == content(tmp_path / "single" / "cache")
    assert errors(folder / "cache") == errors(tmp_path / "single" / "cache")
    assert len(errors(folder / "cache")) == 4
    assert len(list(folder.glob("cache/*/part-*.h5"))) > 3
    assert run(folder).encoded == 0
    assert len(list(folder.glob("cache/*/part-*.h5"))) == 1
    assert rows(folder / "cache") == len(content(folder / "cache")[SPEC.slug]) == len(set(TEXTS)) - 3


def test_a_shard_reports_its_own_rows_and_merges_nothing(tmp_path: Path) -> None:
    reports = [run(tmp_path, Shard(number, 3)) for number in (3, 1, 2)]
    assert sum(report.bad for report in reports) == 4
    assert sum(report.missing for report in reports) == 1
    assert sum(report.encoded for report in reports) == len(content(tmp_path / "cache")[SPEC.slug])


def test_what_is_fitted_is_fitted_once_on_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[int] = []
    fit = static.fit_word_vectors

    def counted(kind: Any, texts: Sequence[Sequence[str]]) -> Any:
        fits.append(len(texts))
        return fit(kind, texts)

    monkeypatch.setattr(static, "fit_word_vectors", counted)
    corpus = Corpus(tmp_path, "table", [Sample(str(n), None, f"one two {'three ' * (n % 6)}") for n in range(30)])
    request = EncoderRequest((), ("gensim:word2vec",), EncoderOptions(pools=("mean", "max")))
    for number in (2, 1):
        done = extract(corpus, request, tmp_path / "shards", shard=Shard(number, 2))
        assert (done.rows, done.to_dict()["shard"]) == (15, f"{number}/2")
        assert f"shard {number}/2" in done.to_text()
        assert [report.encoded for report in done.encoders] == [3, 3]
        gc.collect()  # or the second would be given the first one's encoder
    assert fits == [30]
    extract(corpus, request, tmp_path / "single")
    assert content(tmp_path / "shards") == content(tmp_path / "single")
    assert [len(rows) for rows in content(tmp_path / "single").values()] == [6, 6]


def test_a_shard_without_rows_is_done(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, "table", [Sample("0", None, "one one"), Sample("1", None, "two two")])
    done = extract(corpus, EncoderRequest((), ("gensim:word2vec",)), tmp_path / "cache", shard=Shard(3, 3))
    assert (done.rows, done.bad_share) == (0, 0.0)
    with pytest.raises(ValueError, match="no posts"):
        extract(replace(corpus, samples=[]), EncoderRequest((), ("minilm",)), tmp_path, shard=Shard(1, 3))


def msa(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "msa.cli", "extract", "posts.jsonl", "--image", "none", "--max-bad", "1", *arguments]
    return subprocess.Popen(
        call, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_the_command_in_shards_equals_the_command_alone(tmp_path: Path) -> None:
    """minilm, and both fits: their numbers do not depend on what else is in a batch."""
    posts = [{"id": str(n), "image": None, "text": f"{n % 9 * 'such a '}day {n % 60}", "label": "a"} for n in range(90)]
    posts[40]["text"] = posts[55]["text"] = "☃ ☃"  # no word for gensim, in two shards
    (tmp_path / "posts.jsonl").write_text("\n".join(map(json.dumps, posts)))
    encoders = [word for name in ("minilm", "gensim:doc2vec", "gensim:word2vec") for word in ("--text", name)]
    alone = msa(tmp_path, *encoders, "--cache", "single")
    message = alone.communicate()
    assert alone.returncode == 0, message
    killed = msa(tmp_path, *encoders, "--cache", "shards", "--shard", "3/3")
    until = time.monotonic() + 60
    while killed.poll() is None and not list(tmp_path.glob("shards/*/part-*.h5")) and time.monotonic() < until:
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    shards = [msa(tmp_path, *encoders, "--cache", "shards", "--shard", f"{n}/3", "--json") for n in (3, 1, 2)]
    reports = [json.loads(child.communicate()[0]) for child in shards]
    assert [(report["rows"], report["shard"]) for report in reports] == [(30, "3/3"), (30, "1/3"), (30, "2/3")]
    assert content(tmp_path / "shards") == content(tmp_path / "single")
    assert errors(tmp_path / "shards") == errors(tmp_path / "single")
    assert len(errors(tmp_path / "single")) == 4
    merged = msa(tmp_path, *encoders, "--cache", "shards", "--json")
    assert {report["encoded"] for report in json.loads(merged.communicate()[0])["encoders"]} == {0}
    assert len(list(tmp_path.glob("shards/*/part-*.h5"))) == 3
    assert content(tmp_path / "shards") == content(tmp_path / "single")
