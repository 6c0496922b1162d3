"""What every released version wrote opens in this one and gives the same numbers; other formats are refused in a line.

The fixtures are written once a version by `tests/fixtures/write_fixtures.py`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import pytest
from packed_folders import unpack

from msa.features.cache.verify import verify_cache
from msa.features.posts.content import hash_corpus
from msa.features.posts.content_index import FILE, FORMAT
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.features.store.header import HEADER_BYTES
from msa.features.store.store import Store, read_spec, stored_specs
from msa.pipeline.config.search_config import Search
from msa.pipeline.data.cached_features import load_features
from msa.pipeline.data.split import Posts, read_folds
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.exporting.exported_model import Model
from msa.pipeline.predict import predict_corpus
from msa.pipeline.runs.runs import load_run
from msa.pipeline.runs.seen_posts import seen_contents
from msa.pipeline.runs.stored_run import read_run
from msa.pipeline.sweeps.replay import read_replay
from msa.pipeline.sweeps.stored_sweep import open_sweep
from msa.pipeline.sweeps.study import Study, study_url

FIXTURES = sorted(path for path in (Path(__file__).parent / "fixtures").iterdir() if (path / "values.json").exists())
FOLDERS = {"posts": "posts", "cache": "cache", "head": "runs/head", "sweep": "runs/sweep", "exported": "exported"}
MODALITIES = ("image", "text")
NO_POSTS = Posts([], [], np.arange(0), [])
SEARCH = Search(trials=4, sampler="grid", batch=4)


class Written(NamedTuple):
    """What a version wrote: the project's folder, its posts, and the numbers that were kept beside it."""

    project: Path
    corpus: Corpus
    values: dict[str, Any]


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    project = tmp_path / "project"
    for name, place in FOLDERS.items():
        unpack(request.param / f"{name}.json", project / place)
    values = json.loads((request.param / "values.json").read_text(encoding="utf-8"))
    return Written(project, read_corpus(project / "posts"), values)


def test_a_cache_is_whole_and_gives_what_was_stored(written: Written) -> None:
    cache = written.project / "cache"
    assert verify_cache(cache).ok
    specs = {m: [spec for spec in stored_specs(cache) if spec.modality == m] for m in MODALITIES}
    table = load_features(written.corpus, cache, image=specs["image"], text=specs["text"], tokens=True)
    assert list(table.posts.ids) == written.values["ids"]
    for modality, side in table.sides.items():
        wanted = np.array(written.values["features"][modality], np.float32)
        assert side.tokens is not None
        np.testing.assert_array_equal(side.pooled, wanted[:, 0])
        for row, tokens in enumerate(wanted[:, 1:]):
            np.testing.assert_array_equal(side.tokens.row(row), tokens)


def test_a_run_predicts_and_reports_what_it_did(written: Written) -> None:
    run = written.project / "runs" / "head"
    found = predict_corpus(run, written.corpus, rows="all")
    assert found.labels == written.values["labels"]
    np.testing.assert_allclose(found.probabilities, written.values["probabilities"], rtol=1e-5, atol=1e-5)
    evaluation = read_run(run).evaluation
    assert evaluation is not None
    assert evaluation.metrics["accuracy"]["mean"] == written.values["accuracy"]
    again = evaluate_run(run, written.corpus, device="cpu")
    assert again.reproduced == 1
    assert again.evaluation.metrics["accuracy"]["mean"] == pytest.approx(written.values["accuracy"])


def test_a_sweep_shows_its_trials_and_gives_their_settings(written: Written) -> None:
    folder, trials = written.project / "runs" / "sweep", written.values["trials"]
    stored = open_sweep(folder)
    assert {str(one.index): {"point": one.point, "value": one.value} for one in stored.trials} == trials
    best = read_replay(f"{folder}#best")
    assert (best.head.hidden, best.training.lr) == tuple(
        written.values["best"][part][name] for part, name in (("head", "hidden"), ("training", "lr"))
    )
    assert best.data_config.cache == written.project / "cache"
    for number, trial in trials.items():
        settings = read_replay(f"{folder}#{number}")
        found = {"fusion": settings.head.fusion, "lr": settings.training.lr, "hidden": settings.head.hidden}
        assert found == trial["point"]
    rows = open_study(folder).rows()
    assert {str(row.index): {"point": row.point, "value": row.value} for row in rows} == trials


def test_an_exported_model_gives_its_logits(written: Written) -> None:
    pytest.importorskip("onnxruntime", reason="the exported model is opened with onnxruntime")
    given = {name: np.array(rows)[:, 0] for name, rows in written.values["features"].items()}
    logits, _ = Model(written.project / "exported").outputs(**given)
    np.testing.assert_allclose(logits, written.values["logits"], rtol=1e-5, atol=1e-5)


def open_study(folder: Path) -> Study:
    """The study of a sweep's only outer fold."""
    url, stored = study_url(str(folder / "study.db")), open_sweep(folder)
    (name,) = optuna.get_all_study_names(url)
    return Study(url, name, stored.space, fusion=stored.fusion, search=SEARCH, seed=0)


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {  # file, what reads it, remedy
    "the spec of an encoder": ("cache/*/spec.json", lambda file: read_spec(file.parent), "extract again"),
    "the configuration of a run": ("runs/head/config.json", lambda file: load_run(file.parent), "train again"),
    "the report of a run": ("runs/head/metrics.json", lambda file: read_run(file.parent), "write it again"),
    "the split of a run": ("runs/head/split.json", lambda file: seen_contents(file.parent), "train again"),
    "a split of a cache": ("cache/splits/*.json", lambda file: read_folds(file, NO_POSTS), "train again"),
    "a sweep's page": ("runs/sweep/sweep.json", lambda file: open_sweep(file.parent), "run the sweep again"),
    "a sweep": ("runs/sweep/sweep.json", lambda file: read_replay(f"{file.parent}#best"), "run the sweep again"),
    "an exported model": ("exported/model.json", lambda file: Model(file.parent), "exported_model.py"),
}


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("what", REFUSED)
def test_a_file_of_another_format_is_refused_with_a_remedy(written: Written, what: str, number: int) -> None:
    pattern, read, remedy = REFUSED[what]
    file = next(written.project.glob(pattern))
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), "format": number}), encoding="utf-8")
    refused(lambda: read(file), file, number, remedy)


@pytest.mark.parametrize("number", [0, 99])
def test_a_part_of_another_format_is_refused_with_a_remedy(written: Written, number: int) -> None:
    file = next(written.project.glob("cache/*/part-*.h5"))
    whole = file.read_bytes()
    header = json.loads(whole[:HEADER_BYTES].rstrip(b"\0")) | {"msa": number, "of another format": 1}
    block = json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    file.write_bytes(block.ljust(HEADER_BYTES, b"\0") + whole[HEADER_BYTES:])
    refused(lambda: Store(file.parent, read_spec(file.parent)), file, number, "extract again")
    (check,) = [one for one in verify_cache(written.project / "cache").checks if not one.ok]
    assert f"format {number}" in check.damage[0]


@pytest.mark.parametrize("number", [0, 99])
def test_a_study_of_another_format_is_refused_with_a_remedy(written: Written, number: int) -> None:
    folder = written.project / "runs" / "sweep"
    open_study(folder).study.set_user_attr("format", number)
    refused(lambda: open_study(folder), folder / "study.db", number, "give another database")


@pytest.mark.parametrize("number", [1, 99])
def test_a_content_index_of_another_format_is_built_again(written: Written, number: int) -> None:
    cache = written.project / "cache"
    for sample in written.corpus.samples:
        assert isinstance(sample.image, Path)
        os.utime(sample.image, (0, 0))  # files that were written just now are not kept in the index
    wanted = hash_corpus(written.corpus, cache).keys("image")
    with closing(sqlite3.connect(cache / FILE)) as database:
        database.execute("DROP TABLE files")
        database.execute(f"PRAGMA user_version = {number}")
    assert hash_corpus(written.corpus, cache).keys("image") == wanted
    with closing(sqlite3.connect(cache / FILE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (FORMAT,)
        assert database.execute("SELECT count(*) FROM files").fetchone() == (len(written.corpus.samples),)


def refused(read: Callable[[], object], file: Path, number: int, remedy: str) -> None:
    """Assert that reading fails in one line with the file, its format and a remedy; a later one asks for an update."""
    with pytest.raises(ValueError, match=f"format {number}") as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    assert remedy in message
    assert number == 0 or "update msa" in message or remedy == "exported_model.py"
