"""What a run's heads predict from one modality is what they predict for a post that lacks the other."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, N, cached_posts, stage

from msa.features.posts.samples import Corpus
from msa.pipeline.inspection.opinions import modality_opinions
from msa.pipeline.inspection.stored_opinions import FILE, read_opinions
from msa.pipeline.predict import predict_corpus
from msa.pipeline.runs.run_predictions import load_run_features
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import train_head

ENSEMBLE = replace(HEAD, ensemble_size=2)


def without(posts: Corpus, **absent: None) -> Corpus:
    return replace(posts, samples=[replace(one, **absent) for one in posts.samples])


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Posts of which the first has no image, the second no text."""
    made = cached_posts(tmp_path_factory.mktemp("posts"))
    first, second, *others = made.samples
    return replace(made, samples=[replace(first, image=None), replace(second, text=None), *others])


@pytest.fixture(scope="module")
def run(posts: Corpus) -> Path:
    return train_head(posts, stage(posts, repeats=2), ENSEMBLE, QUICK, runs=posts.root / "runs").run


def test_each_opinion_is_the_prediction_for_posts_without_the_others(posts: Corpus, run: Path) -> None:
    loaded = load_run(run)
    found = modality_opinions(loaded, load_run_features(loaded, posts, loaded.cache))
    assert list(found) == [("image", "text"), ("image",), ("text",), ()]
    whole = predict_corpus(run, posts, rows="all").probabilities
    np.testing.assert_allclose(found["image", "text"], whole, atol=1e-6)
    for present, corpus in ((("image",), without(posts, text=None)), (("text",), without(posts, image=None))):
        alone = predict_corpus(run, corpus, rows="all").probabilities
        np.testing.assert_allclose(found[present], alone, atol=1e-6)  # type: ignore[index]
        assert np.abs(alone - whole).max() > 0.1
    np.testing.assert_allclose(found[()], found[()][:1].repeat(N, 0), atol=1e-6)


def test_stored_opinions_are_of_heads_that_never_saw_the_row(posts: Corpus, run: Path) -> None:
    """The heads of fold k alone, on the test rows of fold k."""
    stored, loaded = read_opinions(run, 3), load_run(run)
    with (run / "predictions.csv").open(encoding="utf-8-sig") as file:
        fold_of = {(line["id"], line["repeat"]): line["fold"] for line in csv.DictReader(file)}
    assert list(stored) == list(fold_of)
    assert len(stored) == 2 * N
    table = load_run_features(loaded, posts, loaded.cache)
    place = {one.id: number for number, one in enumerate(posts.samples)}
    for number, (heads, reductions) in enumerate(loaded.folds):
        alone = replace(loaded, heads=heads, reductions=[reductions], temperatures=(loaded.temperatures[number],))
        wanted = modality_opinions(alone, table)
        for (name, repeat), found in stored.items():
            if fold_of[name, repeat] == str(number):
                parts = [wanted[("image",)][place[name]], wanted[("text",)][place[name]], wanted[()][place[name]]]
                given = np.where(np.isnan(found), parts, found)
                np.testing.assert_allclose(given, parts, atol=1e-5)


def test_an_absent_modality_has_no_opinion(run: Path) -> None:
    for (name, _), found in read_opinions(run, 3).items():
        absent = {"p0": [True, False, False], "p1": [False, True, False]}.get(name, [False] * 3)
        assert np.isnan(found).all(1).tolist() == absent
        assert np.isnan(found).any(1).tolist() == absent


@pytest.mark.parametrize(("fusion", "image"), [("text", "images"), ("gated", "none"), ("text+image", "images")])
def test_heads_of_one_modality_have_nothing_to_compare(posts: Corpus, fusion: str, image: str) -> None:
    head = replace(HEAD, fusion=fusion, ensemble_size=len(fusion.split("+")))
    config = replace(stage(posts), image=(image,))
    run = train_head(posts, config, head, replace(QUICK, epochs=1), runs=posts.root / "runs").run
    loaded = load_run(run)
    found = modality_opinions(loaded, load_run_features(loaded, posts, loaded.cache))
    both = fusion == "text+image"
    assert (run / FILE).exists() == both
    assert len(read_opinions(run, 3)) == N * both
    assert list(found) == ([("image", "text"), ("image",), ("text",), ()] if both else [("text",), ()])


def test_a_damaged_file_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("id,repeat,fold\np0,0,0,0.5\n")
    with pytest.raises(ValueError, match=r"opinions\.csv: not the predictions from single modalities .*; train again"):
        read_opinions(tmp_path, 3)
