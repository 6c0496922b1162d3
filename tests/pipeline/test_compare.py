"""Heads on combinations of encoders: what is trained, what is left, and the table that the command gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cached_posts import QUICK, cached_posts, stage

from msa.cli import run_command
from msa.features.posts.export.table import PostTable
from msa.features.posts.samples import Corpus
from msa.pipeline.compare import Combination, combine, compare
from msa.pipeline.config.head_config import HeadConfig

HEADS = [HeadConfig("concat", hidden=4, inputs="pooled"), HeadConfig("gated", hidden=4, inputs="pooled")]
FAST = replace(QUICK, epochs=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


def combinations(corpus: Corpus) -> list[Combination]:
    return combine(stage(corpus, folds=2), HEADS, image=["none", "images"], text=["texts", "none"])


def test_pairs_have_an_encoder_and_a_name_each(corpus: Corpus) -> None:
    names = [one.name for one in combinations(corpus)]
    assert names == [f"{pair}-{head}" for pair in ("texts", "images-texts", "images") for head in ("concat", "gated")]
    joined = combine(stage(corpus), HEADS[:1], image=["none"], text=["texts+someone/bert"])
    assert joined[0].data_config.text == ("texts", "someone/bert")
    assert joined[0].name == "texts+someone-bert-concat"
    with pytest.raises(ValueError, match="no encoder is left"):
        combine(stage(corpus), HEADS, image=["none"], text=["none"])


def test_what_is_there_is_not_trained_again_unless_a_setting_differs(corpus: Corpus, tmp_path: Path) -> None:
    wanted = combinations(corpus)
    first = compare(corpus, wanted[:3], FAST, runs=tmp_path / "runs")
    assert [path.name for path in first] == ["texts-concat", "texts-gated", "images-texts-concat"]
    written = {path: (path / "metrics.json").stat().st_mtime_ns for path in first}
    with pytest.warns(UserWarning, match="3 of 6 heads are trained already"):
        found = compare(corpus, wanted, FAST, runs=tmp_path / "runs")
    assert found[:3] == first
    assert {path: (path / "metrics.json").stat().st_mtime_ns for path in first} == written
    assert len({*found}) == 6
    other = compare(corpus, wanted[:1], replace(FAST, lr=0.5), runs=tmp_path / "runs")
    assert [path.name for path in other] == ["texts-concat-2"]
    samples = [replace(one, label="a" if one.id == "p1" else one.label) for one in corpus.samples]
    relabelled = compare(replace(corpus, samples=samples), wanted[:1], FAST, runs=tmp_path / "runs")
    assert [path.name for path in relabelled] == ["texts-concat-3"]


def test_features_that_are_not_cached_are_missed_before_anything_is_trained(corpus: Corpus, tmp_path: Path) -> None:
    wanted = combine(stage(corpus), HEADS, image=["images"], text=["texts", "lexicon"])
    with pytest.raises(ValueError, match="run `msa extract --text lexicon`"):
        compare(corpus, wanted, FAST, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_command_gives_a_latex_table_of_encoders_by_heads(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    posts = PostTable.of(corpus, corpus.root / "posts.jsonl")
    if not posts.file.exists():
        with posts.file.open("wb") as opened:
            posts.write(opened)
    options = ["compare", str(posts.file), "--cache", str(corpus.root / "cache"), "--image", "none,images"]
    options += ["--text", "texts", "--fusion", "gated,concat", "--folds", "10", "--epochs", "1", "--inputs", "pooled"]
    assert run_command([*options, "--to", "latex", "--out", "table.tex"]) == 0
    table = Path("table.tex").read_text()
    assert r"Encoders & gated & concat \\" in table
    assert [line.strip().partition(" & ")[0] for line in table.splitlines() if r" $\pm$ " in line and "&" in line] == [
        "texts",
        "images + texts",
    ]
    assert "over folds (120 posts scored, 10 folds)" in table
    capsys.readouterr()
    assert run_command([*options, "--against", "texts-gated", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["encoders"], row["head"]) for row in found["rows"]] == [
        (encoders, head) for encoders in ("texts", "images + texts") for head in ("gated", "concat")
    ]
    assert found["against"] == "texts-gated"
    assert run_command(["table", "runs/compare", "--grid", "--metric", "macro_f1", "--to", "markdown"]) == 0
    assert "| Encoders | gated | concat |" in capsys.readouterr().out
