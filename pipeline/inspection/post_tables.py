"""The test posts of a run as CSV, one line each, with whole texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...features.csv_text import class_columns, to_csv
from ...features.spec import MODALITIES, BadItem
from ...features.store.durable import make_folder, write_atomic
from .inspected_run import InspectedRun
from .posts import TestPosts

OWN = ("id", "label", "predicted", "correct", "loss")


def write_posts(run: InspectedRun, folder: Path) -> list[Path]:
    """Write the tables of `post_tables` to a folder, as NAME.csv."""
    make_folder(folder)
    tables = {folder / f"{name}.csv": text for name, text in post_tables(run).items()}
    for path, text in tables.items():
        write_atomic(path, text.encode("utf-8", "backslashreplace"))
    return list(tables)


def post_tables(run: InspectedRun) -> dict[str, str]:
    """CSV texts by name: all test posts by falling loss, and those that the page lists, in its order.

    `disagreements` are posts whose image and text alone predict different classes, `label-errors` likely label errors,
    `duplicates` posts of equal content with different labels, of which `conflict` numbers those that go together.
    """
    lines, header = list(post_lines(run)), [*OWN, *post_columns(run.posts)]
    orders = {
        "posts": run.posts.worst,
        "disagreements": run.posts.disagreeing,
        "label-errors": np.array(list(run.posts.doubted), np.int64),
    }
    tables = {name: to_csv(header, (lines[row] for row in rows)) for name, rows in orders.items()}
    conflicts = (
        [number, one.shared, name, label, *_contents(run, name)]
        for number, one in enumerate(run.conflicts, 1)
        for name, label in one.labels.items()
    )
    return tables | {"duplicates": to_csv(["conflict", "same", "id", "label", "image", "text"], conflicts)}


def post_columns(posts: TestPosts) -> list[str]:
    """The names of the columns of `post_lines` after OWN."""
    names = ["likely_label"]
    if posts.alone is not None:
        names += ["image_alone", "text_alone", "divergence"]
        names += [
            f"{scale}_{name}_{of}"
            for of in ("predicted", "label")
            for scale in ("shapley", "log_shapley")
            for name in MODALITIES
        ]
    names += class_columns([*OWN, *names, "image", "text"], posts.classes)
    return [*names, "image", "text"]


def post_lines(run: InspectedRun) -> Iterator[list[object]]:
    """One line per test post, in their order."""
    posts = run.posts
    shapley = []
    if posts.alone is not None:
        of = (posts.predicted, posts.truth)
        shapley = [posts.shapley(one, log=log) for one in of for log in (False, True)]
    for row, name in enumerate(posts.ids):
        label, predicted = posts.classes[posts.truth[row]], posts.classes[posts.predicted[row]]
        line: list[object] = [name, label, predicted, int(label == predicted), round(float(posts.loss[row]), 6)]
        line.append(posts.classes[posts.doubted[row]] if row in posts.doubted else "")
        if posts.alone is not None:
            alone = posts.alone[row, :2]
            line += ["" if np.isnan(one).any() else posts.classes[int(one.argmax())] for one in alone]
            line.append("" if np.isnan(alone).any() else round(float(posts.divergence[row]), 6))
            line += np.concatenate([one[row] for one in shapley]).round(6).tolist()
        yield [*line, *posts.probabilities[row].round(6).tolist(), *_contents(run, name)]


def _contents(run: InspectedRun, name: str) -> tuple[str, str]:
    """The path of a post's image, and its text; empty where they are not known."""
    sample = run.source.samples.get(name) if run.source else None
    if run.source is None or sample is None:
        return "", ""
    try:
        text = run.source.text(name)
    except BadItem:
        text = ""
    return str(sample.image or ""), text
