"""Classes are left out as asked; a notice counts their posts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msa.features.messages import Notice
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.data.classes import order_classes, select_classes
from msa.pipeline.data.split import Posts, make_folds

LABELS = [*["good"] * 5, *["bad"] * 4, *["love"] * 2, None]
CORPUS = Corpus(Path(), "table", [Sample(str(n), None, "text", label) for n, label in enumerate(LABELS)])


def labels(corpus: Corpus) -> list[str | None]:
    return [sample.label for sample in corpus.samples]


def test_nothing_is_left_out_unasked() -> None:
    assert select_classes(CORPUS, min_per_class=2) is CORPUS


def test_small_and_named_classes_are_left_out_and_counted() -> None:
    with pytest.warns(Notice, match=r"2 posts of 1 classes are left out \('love'\)"):
        assert labels(select_classes(CORPUS, min_per_class=3)) == [*["good"] * 5, *["bad"] * 4, None]
    with pytest.warns(Notice, match="6 posts of 2 classes"):
        assert labels(select_classes(CORPUS, min_per_class=3, drop=["bad"])) == [*["good"] * 5, None]


def test_a_label_that_no_post_has_is_refused_with_the_near_one() -> None:
    with pytest.raises(ValueError, match=r"'god'.*did you mean good"):
        select_classes(CORPUS, drop=["god"])


def test_leaving_out_every_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"all 11 labelled posts .*--min-per-class 99 .*largest has 5"):
        select_classes(CORPUS, min_per_class=99)


def test_classes_take_the_order_that_is_given() -> None:
    assert order_classes(("bad", "good", "love"), ("bad", "love", "good")) == ("bad", "love", "good")


@pytest.mark.parametrize(
    ("order", "wrong"),
    [
        (("bad", "good"), "it lacks the label 'love'"),
        (("bad", "good", "love", "hate"), "no post has the label 'hate'"),
        (("bad", "good", "love", "bad"), "names 'bad' twice"),
    ],
)
def test_an_order_of_other_classes_is_refused(order: tuple[str, ...], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"--class-order .*{wrong}"):
        order_classes(("bad", "good", "love"), order)


def test_one_class_among_the_training_rows_is_refused_before_training() -> None:
    def fold(splits: list[str | None]) -> None:
        labels: list[str | None] = [*"a" * 20, *"ab" * 4]
        make_folds(Posts([str(n) for n in range(28)], labels, np.arange(28), splits), folds=None, seed=0)

    with pytest.raises(ValueError, match="two classes are needed to train; the 18 training rows have 'a'"):
        fold([*["train"] * 20, *["val"] * 8])
    with pytest.raises(ValueError, match="all 28 labelled posts are test posts"):
        fold(["test"] * 28)
