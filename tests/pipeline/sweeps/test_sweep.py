"""Sweeps: what is chosen, on which rows, and that neither a kill nor other processes change it."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.cache.imported_arrays import ImportedArrays
from msa.features.cache.importing import import_embeddings
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.split import Fold
from msa.pipeline.sweeps import chunk
from msa.pipeline.sweeps import sweep as sweep_module
from msa.pipeline.sweeps.halving import Halving, rungs_of
from msa.pipeline.sweeps.leaderboard import SweepResult, leaderboard_csv
from msa.pipeline.sweeps.replay import read_replay
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.study import open_storage, study_url
from msa.pipeline.sweeps.sweep import sweep
from msa.pipeline.train_head import train_head

QUICK = TrainConfig(epochs=8, batch_size=16, lr=1e-2, patience=0)
HEAD = HeadConfig("concat", hidden=8, dropout=0.1)
SETTINGS = ["lr=1e-4..1e-1", "hidden=4,8", "dropout=0.0..0.5"]
SEARCH = Search(trials=9, inner=2, halving=2)


def cached_posts(folder: Path, count: int, *, signal: float) -> Corpus:
    """Posts with embeddings in `folder/cache` that say so much of the label; every tenth is a copy of another."""
    draw = np.random.default_rng(0)
    same = [n - 1 if n % 10 == 9 else n for n in range(count)]
    labels = draw.choice(list("aaabc"), count)
    samples = []
    for number, copied in enumerate(same):
        image = folder / f"{copied}.jpg"
        image.write_bytes(f"image {copied}".encode())
        samples.append(Sample(f"p{number}", image, f"text {copied}", str(labels[copied])))
    corpus = Corpus(folder, "table", samples)
    for modality in ("image", "text"):
        vectors = draw.normal(size=(count, 6)).astype(np.float32)
        vectors[np.arange(count), ["abc".index(label) for label in labels]] += signal
        arrays = ImportedArrays(vectors[same], [sample.id for sample in samples])
        import_embeddings(corpus, folder / "cache", arrays, name=f"{modality}s", modality=modality)
    return corpus


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"), 150, signal=2.0)


def stage(corpus: Corpus) -> DataConfig:
    return DataConfig(corpus.root / "cache", ("images",), ("texts",), device="cpu")


def search(
    corpus: Corpus, runs: Path, how: Search = SEARCH, *, settings: list[str] = SETTINGS, **more: Any
) -> SweepResult:
    space = read_space(settings, fusion=more.pop("fusion", "concat,gated"), file=None)
    return sweep(corpus, stage(corpus), space, HEAD, QUICK, how, runs=runs, **more)


def outcome(found: SweepResult) -> list[tuple[Any, ...]]:
    return [(row.index, row.point, row.state, row.values) for rows in found.rows for row in rows]


def test_rungs() -> None:
    assert rungs_of(20, 3) == [2, 4, 8, 20]
    assert rungs_of(40, 2) == [4, 8, 16, 40]
    assert rungs_of(4, 3) == [2, 4]
    assert rungs_of(20, 0) == [20]
    assert rungs_of(3, 2) == [3]
    with pytest.raises(ValueError, match="--halving must be 2 or more, or 0"):
        rungs_of(20, 1)


def test_the_best_third_goes_on_and_the_best_of_them_wins(posts: Corpus, tmp_path: Path) -> None:
    found = search(posts, tmp_path)
    (rows,) = found.rows
    assert [row.index for row in rows] == list(range(9))
    assert [sum(rung in row.values for row in rows) for rung in (2, 4, 8)] == [9, 5, 3]
    assert sorted(row.state for row in rows) == ["complete"] * 3 + ["pruned"] * 6
    for rung in (2, 4):
        values = sorted(((row.values[rung], -row.index) for row in rows if rung in row.values), reverse=True)
        kept = {row.index for row in rows if max(row.values) > rung}
        assert kept == {-index for _, index in values[: len(kept)]}
    best = max((row for row in rows if row.state == "complete"), key=lambda row: (row.values[8], -row.index))
    assert found.best.index == best.index
    assert found.best.inner["accuracy"] == best.values[8]
    stored = json.loads((found.path / "sweep.json").read_text())
    assert stored["best"]["config"]["head"]["hidden"] == best.point["hidden"]
    assert stored["leaderboard"][0]["trial"] == best.index
    assert set(stored["baselines"]) == {"majority", "knn", "ridge", "linear"}
    assert {"best", "outer", "trials", "seconds"} <= found.to_dict().keys()
    assert found.to_dict()["outer"]["metrics"]["accuracy"]["mean"] > stored["baselines"]["majority"]["accuracy"]["mean"]
    assert len((found.path / "leaderboard.csv").read_text().splitlines()) == 10
    assert f"trial {best.index} was chosen" in found.to_text()
    assert all(row.notes["seconds"] > 0 for row in rows)


def test_three_go_on_at_least(posts: Corpus, tmp_path: Path) -> None:
    (rows,) = search(posts, tmp_path, replace(SEARCH, trials=5, halving=3)).rows
    assert [sum(rung in row.values for row in rows) for rung in (2, 4, 8)] == [5, 3, 3]


def test_the_leaderboard_says_what_each_trial_costs(posts: Corpus, tmp_path: Path) -> None:
    found = search(posts, tmp_path, replace(SEARCH, trials=2))
    assert {line["extract_seconds"] for line in found.to_dict()["leaderboard"]} == {None}  # arrays, not extracted
    assert all(line["head_seconds"] > 0 for line in found.to_dict()["leaderboard"])
    assert re.search(r"trial +accuracy +epochs +extract s +head s", found.to_text())
    assert re.search(r"– +0\.\d\d", found.to_text())
    timed = [replace(row, notes=row.notes | {"extract_seconds": 12.34}) for row in found.rows[0]]
    known = replace(found, rows=[timed])
    assert re.search(r" 12\.3 +0\.\d\d", known.to_text())
    assert all(name in known.to_text() for name in ("majority", "knn", "linear", "Outer scores", "inner scores"))
    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(known.rows))))
    assert [line["extract_seconds"] for line in lines] == ["12.34"] * 2
    assert all(float(line["head_seconds"]) > 0 for line in lines)
    assert "extract_seconds" in (found.path / "leaderboard.csv").read_text().splitlines()[0]


def test_the_winner_trains_again_alone_to_the_same_metrics(posts: Corpus, tmp_path: Path) -> None:
    found = search(posts, tmp_path)
    again = read_replay(f"{found.path}#best")
    trained = train_head(posts, again.data_config, again.head, again.training, runs=tmp_path / "heads")
    assert {name: metric["mean"] for name, metric in trained.evaluation.metrics.items()} == found.best.outer
    other = read_replay(f"{found.path}#4")
    assert other.training.lr == found.rows[0][4].point["lr"]
    with pytest.raises(ValueError, match="has no trial '99'"):
        read_replay(f"{found.path}#99")
    with pytest.raises(ValueError, match="holds no trained heads"):
        read_replay(str(tmp_path))


def test_no_test_row_takes_part_in_the_choice(posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[list[Fold]] = []
    outer: list[Fold] = []

    def recorded(study: Any, entries: Any, folds: list[Fold], *more: Any) -> Halving:
        inner.append(folds)
        return Halving(study, entries, folds, *more)

    def trained(table: Any, folds: list[Fold], *rest: Any, **more: Any) -> Any:
        outer.extend(folds)
        return original(table, folds, *rest, **more)

    original = sweep_module.train_folds
    monkeypatch.setattr(sweep_module, "Halving", recorded)
    monkeypatch.setattr(sweep_module, "train_folds", trained)
    found = search(posts, tmp_path, replace(SEARCH, outer=3, trials=4))
    assert (len(found.choices), found.trials, len(inner)) == (3, 12, 3)
    same = np.array([n - 1 if n % 10 == 9 else n for n in range(150)])
    for folds, fold in zip(inner, outer, strict=True):
        chosen = {same[row] for one in folds for part in (one.train, one.valid, one.test) for row in part}
        assert chosen == {same[row] for part in (fold.train, fold.valid) for row in part}
        assert chosen.isdisjoint(same[fold.test])
    assert sorted(row for fold in outer for row in fold.test) == list(range(150))


@pytest.mark.parametrize(("sampler", "stops"), [("random", [1, 9]), ("tpe", [6])])
def test_an_interrupted_sweep_ends_where_an_uninterrupted_one_does(
    posts: Corpus, tmp_path: Path, sampler: Any, stops: list[int]
) -> None:
    how = replace(SEARCH, sampler=sampler, batch=4)
    whole = search(posts, tmp_path / "whole", how)
    for stop in stops:
        assert_interrupted_ends_as(whole, posts, tmp_path / f"cut-{stop}", how, stop)


def assert_interrupted_ends_as(whole: SweepResult, posts: Corpus, runs: Path, how: Search, stop: int) -> None:
    count = 0

    def cut(name: str, done: int, total: int) -> None:
        nonlocal count
        count += 1
        if count > stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(posts, runs, how, done=cut)
    again = search(posts, runs, how)
    assert again.path == runs / "sweep"
    assert outcome(again) == outcome(whole)
    assert again.best.config() == whole.best.config()
    assert again.best.outer == whole.best.outer
    assert search(posts, runs, how).path == runs / "sweep-2"


def test_finished_trials_are_not_trained_again(posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = str(tmp_path / "study.db")
    first = search(posts, tmp_path / "one", replace(SEARCH, study=database))

    def never(*args: Any, **more: Any) -> None:
        raise AssertionError("a finished trial was trained")

    monkeypatch.setattr(chunk, "begin_training", never)
    second = search(posts, tmp_path / "two", replace(SEARCH, study=database))
    assert outcome(second) == outcome(first)
    assert second.plan == "nothing left to train"


def test_a_sweep_stored_with_other_metrics_is_begun_afresh(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("msa.pipeline.sweeps.search.METRICS", ("accuracy",))
        with pytest.raises(KeyboardInterrupt):
            search(posts, tmp_path, done=cut)
    assert search(posts, tmp_path).path == tmp_path / "sweep-2"


def test_a_grid_tries_every_point_once(posts: Corpus, tmp_path: Path) -> None:
    how = Search(sampler="grid", inner=2, halving=0)
    found = search(posts, tmp_path, how, settings=["hidden=4,8", "lr=1e-3,1e-2", "epochs=2"])
    points = [tuple(row.point.values()) for row in found.rows[0]]
    assert points == [(f, h, lr, 2) for f in ("concat", "gated") for h in (4, 8) for lr in (1e-3, 1e-2)]
    assert {row.state for row in found.rows[0]} == {"complete"}
    with pytest.raises(ValueError, match="the grid has 8 points; leave --trials out"):
        search(posts, tmp_path, replace(how, trials=5), settings=["hidden=4,8", "lr=1e-3,1e-2", "epochs=2"])


def test_a_trial_that_cannot_train_fails_alone(posts: Corpus, tmp_path: Path) -> None:
    how = Search(sampler="grid", inner=2, halving=0)
    found = search(posts, tmp_path, how, settings=["lr=1e-2,1e30", "layers=1,-1"], fusion="")
    states = {(row.point["lr"], row.point["layers"]): row for row in found.rows[0]}
    assert states[1e-2, 1].state == "complete"
    assert [row.state for key, row in states.items() if key != (1e-2, 1)] == ["fail"] * 3
    assert "no longer finite" in states[1e30, 1].notes["error"]
    assert "concat takes layers" in states[1e-2, -1].notes["error"]
    assert found.best.training.lr == 1e-2
    with pytest.raises(ValueError, match=r"every trial failed; the first: concat takes layers"):
        search(posts, tmp_path / "none", how, settings=["layers=-1,-2"], fusion="")
    with pytest.raises(ValueError, match=r"dropout must be at least 0 and below 1, got 1\.5"):
        search(posts, tmp_path / "none", how, settings=["dropout=0.1,1.5"], fusion="")


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    for url in ("nosuchkind://x", f"sqlite:///{tmp_path}/missing/folder/x.db"):
        with pytest.raises(ValueError, match=r"not a database that can be opened.*; give a file in a folder"):
            open_storage(url)


def test_without_fusion_a_sweep_finds_the_same(posts: Corpus, tmp_path: Path) -> None:
    fused = search(posts, tmp_path / "fused")
    alone = search(posts, tmp_path / "alone", fused=False)
    assert alone.plan.startswith("alone: 18 heads")
    assert alone.best.config() == fused.best.config()
    for one, two in zip(alone.rows[0], fused.rows[0], strict=True):
        assert (one.point, one.state) == (two.point, two.state)
        assert one.values == pytest.approx(two.values, abs=0.02)  # of 150 rows a near-tie or two may fall otherwise


def test_files_of_another_format_are_refused(posts: Corpus, tmp_path: Path) -> None:
    database = str(tmp_path / "study.db")
    found = search(posts, tmp_path, replace(SEARCH, trials=2, study=database))
    file = found.path / "sweep.json"
    stored = json.loads(file.read_text())
    assert stored["format"] == 1
    file.write_text(json.dumps(stored | {"format": 2}))
    with pytest.raises(ValueError, match=r"format 2, but this msa reads format 1: update msa.*; run the sweep again"):
        read_replay(f"{found.path}#best")
    storage = open_storage(study_url(database))
    (study,) = storage.get_all_studies()
    storage.set_study_user_attr(study._study_id, "format", 2)
    with pytest.raises(ValueError, match=r"format 2, but this msa reads format 1: update msa.*; give another database"):
        search(posts, tmp_path / "again", replace(SEARCH, trials=2, study=database))
