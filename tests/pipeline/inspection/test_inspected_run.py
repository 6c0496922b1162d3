"""Planted label errors and unequal duplicates of a trained head are found, and posts are never taken for others."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from shown_posts import COUNT, shown_posts, trained

from msa.features.csv_text import BOM
from msa.features.messages import Notice
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.features.spec import BadItem
from msa.pipeline.inspection.inspected_run import inspect_run
from msa.pipeline.inspection.post_tables import post_tables
from msa.pipeline.inspection.sources import CHANGED
from msa.pipeline.inspection.stored_opinions import FILE
from msa.pipeline.runs.stored_run import StoredRun, read_run

FLIPPED = {4: "c", 23: "a", 42: "b", 61: "c", 77: "a"}  # those of b, c, a, b, c
CONFLICTS = {9: "b", 19: "c"}  # as posts 8 and 18, of c and a


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.removeprefix(BOM).splitlines()))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return shown_posts(tmp_path_factory.mktemp("posts"), texts={3: "=1+1"}, labels=FLIPPED | CONFLICTS)


@pytest.fixture(scope="module")
def run(corpus: Corpus) -> StoredRun:
    return read_run(trained(corpus))


def test_flipped_labels_are_doubted_first_and_of_highest_loss(run: StoredRun) -> None:
    posts = inspect_run(run).posts
    wrong = {f"p{number}" for number in FLIPPED | CONFLICTS}
    found = list(posts.doubted.items())
    assert {posts.ids[row] for row, _ in found[: len(wrong)]} == wrong
    assert {posts.ids[row] for row in posts.worst[: len(wrong)]} == wrong
    assert len(found) < COUNT / 5
    for row, other in found[: len(wrong)]:
        number = int(posts.ids[row][1:])
        assert posts.classes[other] == "abc"[(number - (number in CONFLICTS)) % 3]


def test_planted_conflicts_are_found_alone(run: StoredRun) -> None:
    found = inspect_run(run).conflicts
    assert [(one.shared, one.labels) for one in found] == [
        ("image and text", {"p8": "c", "p9": "b"}),
        ("image and text", {"p18": "a", "p19": "c"}),
    ]


def test_labels_of_posts_that_were_never_tested_are_those_of_the_data(run: StoredRun, corpus: Corpus) -> None:
    assert run.predictions
    classes, posts, *columns = run.predictions
    kept = [row for row, (name, _) in enumerate(posts) if name != "p9"]
    fewer = run.predictions._make([classes, [posts[row] for row in kept], *(column[kept] for column in columns)])
    assert len(inspect_run(replace(run, predictions=fewer)).conflicts) == 1
    assert len(inspect_run(replace(run, predictions=fewer), corpus).conflicts) == 2


def test_tables_have_every_post_with_its_text_and_lists_in_their_order(run: StoredRun, corpus: Corpus) -> None:
    found = inspect_run(run, corpus)
    tables = {name: read(text) for name, text in post_tables(found).items()}
    assert len(tables["posts"]) == COUNT
    losses = [float(line["loss"]) for line in tables["posts"]]
    assert losses == sorted(losses, reverse=True)
    by_id = {line["id"]: line for line in tables["posts"]}
    assert by_id["p5"]["text"] == "text 5"
    assert by_id["p3"]["text"] == "'=1+1"
    assert Path(by_id["p5"]["image"]) == corpus.root / "5.png"
    for line in tables["posts"]:
        both = float(line["shapley_image_label"]) + float(line["shapley_text_label"])
        assert -1 <= both <= float(line[line["label"]]) + 1e-5  # minus the probability from neither
        assert (line["correct"] == "1") == (line["label"] == line["predicted"])
    flipped = {f"p{number}" for number in FLIPPED}
    assert flipped < {line["id"] for line in tables["label-errors"]}
    assert all(line["likely_label"] for line in tables["label-errors"])
    assert tables["disagreements"]
    assert all(line["image_alone"] != line["text_alone"] for line in tables["disagreements"])
    assert [(line["conflict"], line["id"]) for line in tables["duplicates"]] == [
        *(("1", "p8"), ("1", "p9"), ("2", "p18"), ("2", "p19"))
    ]


def test_a_run_that_stores_no_opinions_has_tables_without_them(run: StoredRun, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "earlier"))
    (copy / FILE).unlink()
    tables = {name: read(text) for name, text in post_tables(inspect_run(read_run(copy))).items()}
    assert {"id", "loss", "likely_label"} < tables["posts"][0].keys()
    assert not [name for name in tables["posts"][0] if "shapley" in name or "alone" in name]
    assert tables["disagreements"] == []
    assert len(tables["duplicates"]) == 4


def test_a_post_that_changed_is_not_shown_in_place_of_the_one_that_was(run: StoredRun, corpus: Corpus) -> None:
    samples = [replace(corpus.samples[0], text="another"), replace(corpus.samples[1], image=corpus.samples[2].image)]
    with pytest.warns(Notice, match=rf"1 of the {COUNT} test posts of .* are not in"):
        source = inspect_run(run, replace(corpus, samples=[*samples, *corpus.samples[2:-1]])).source
    assert source
    with pytest.raises(BadItem, match=CHANGED):
        source.text("p0")
    with pytest.raises(BadItem, match=CHANGED):
        source.thumbnail("p1")
    assert source.text("p1") == "text 1"
    assert source.thumbnail("p0")
    with pytest.raises(BadItem, match="not in these posts"):
        source.text(f"p{COUNT - 1}")


def test_posts_of_another_data_set_are_refused(run: StoredRun, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id,text,label\nx,hello,a\ny,there,b\n")
    with pytest.raises(ValueError, match=r"has none of the posts of .*; give those that it was trained on"):
        inspect_run(run, read_corpus(tmp_path / "other.csv"))
