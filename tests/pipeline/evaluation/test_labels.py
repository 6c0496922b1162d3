"""Labels and ids of any text go through training, evaluation, prediction and their files."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.features.posts.samples import Corpus
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.predict import Predictions, write_predictions
from msa.pipeline.train_head import train_head

CLASSES = [("fold", "id", "predicted"), ("label", "repeat", "probability of label"), ("=1+1", "a,b", '-"x"\nz')]


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.mark.parametrize("classes", CLASSES)
def test_a_run_on_any_labels_reproduces_its_predictions(posts: Corpus, classes: tuple[str, ...]) -> None:
    names = dict(zip("abc", classes, strict=True))
    samples = [replace(one, id=f"={one.id}", label=names[str(one.label)]) for one in posts.samples]
    corpus = replace(posts, samples=samples)
    trained = train_head(corpus, stage(corpus), HEAD, replace(QUICK, epochs=2), runs=posts.root / "runs")
    assert evaluate_run(trained.run, corpus, missing="both").reproduced == 1.0
    with (trained.run / "predictions.csv").open(encoding="utf-8-sig", newline="") as file:
        header, first, *_ = csv.reader(file)
    assert len({*header}) == len(header) == 5 + len(classes)
    assert not any(cell.startswith(("=", "-")) for cell in (*header, *first))
    for name in classes:
        assert name.partition('"')[0] in (trained.run / "report.html").read_text("utf-8")


def test_files_for_people_are_safe_and_the_answer_file_is_plain(posts: Corpus) -> None:
    found = Predictions(["@a", "b"], ("id", "+c"), np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 0]))
    write_predictions(found, posts.root / "out", course=True)
    assert (posts.root / "out" / "predictions.csv").read_bytes().decode() == (
        "id,label,probability of id,'+c\n'@a,'+c,0.1,0.9\nb,id,0.8,0.2\n"
    )
    assert (posts.root / "out" / "test_with_label.txt").read_text() == "guid,tag\n@a,+c\nb,id\n"
