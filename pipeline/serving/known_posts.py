"""The posts of a data set as the page shows them: with the run's predictions, filtered; and the nearest to a new one.

Posts are asked for by their row alone: no path that a client sends is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...features.messages import notify, printable
from ...features.posts.export.thumbnail import thumbnail
from ...features.posts.samples import Corpus, read_file
from ...features.posts.text import read_text
from ...features.spec import MODALITIES, BadItem, Modality
from ..data.cached_features import CachedFeatures, load_features
from ..data.join import join_posts
from ..data.split import Posts
from ..data.test_posts import mark_test_posts
from ..explanation.originals import Seen, seen_in
from ..runs.runs import Run, cache_of, rounded
from ..runs.stored_run import read_run

PAGE_SIZE = 24
NEAREST = 6
EXCERPT = 280  # characters of a text in a list of posts
THUMBNAIL, LARGE = 320, 1280  # pixels of the longer side
KEPT_THUMBNAILS = 2048
Outcome = Literal["", "right", "wrong", "unscored"]
Order = Literal["data", "certain", "uncertain"]


@dataclass(frozen=True)
class PostFilter:
    """Which posts to list: empty fields let all through. `search` is a part of the id or the text, case aside."""

    label: str = ""
    predicted: str = ""
    outcome: Outcome = ""
    search: str = ""
    order: Order = "data"


class KnownPosts:
    """The posts of a corpus without those set aside for `msa test`; `scored` has the run's probabilities by row."""

    def __init__(self, corpus: Corpus, run_folder: Path, run: Run, cache: Path | None = None) -> None:
        """Join the posts with the run's stored predictions. Raises ValueError where one of both is damaged."""
        self.samples, self.classes = corpus.samples, run.classes
        if corpus.owners:
            notify(f"{len({*corpus.owners})} posts have several images; the page shows, and explains, the first alone")
        place = cache_of(run, cache)
        table = _pooled_features(corpus, run, place)
        posts = mark_test_posts(table.posts if table else join_posts(corpus, place)[1], place / "splits")
        self.shown = np.flatnonzero(~posts.in_test_set)
        self.set_aside = len(posts.ids) - len(self.shown)
        self.labels = [label or "" for label in posts.labels]
        self.seen = seen_in(run_folder, posts)
        self.scored = _stored_probabilities(run_folder, posts, self.seen)
        self.predicted = {row: run.classes[int(found.argmax())] for row, found in self.scored.items()}
        self.trained = np.flatnonzero(np.array([one.trained for one in self.seen], bool) & ~posts.in_test_set)
        self.vectors = _unit_vectors(table, self.trained) if table else {}
        self.thumbnail = lru_cache(KEPT_THUMBNAILS)(lambda row: self._picture(row, THUMBNAIL))

    def __contains__(self, row: int) -> bool:
        return row in self._rows

    def find(self, wanted: PostFilter, page: int) -> dict[str, Any]:
        """One page of the posts that are wanted, and their number; pages count from 1."""
        rows = [int(row) for row in self.shown if self._fits(int(row), wanted)]
        if wanted.order != "data":
            sign = -1 if wanted.order == "certain" else 1
            rows = [row for row in rows if row in self.scored]
            rows.sort(key=lambda row: sign * float(self.scored[row].max()))
        pages = max(1, -(-len(rows) // PAGE_SIZE))
        page = min(page, pages)
        start = (page - 1) * PAGE_SIZE
        listed = [self.describe(row, excerpt=True) for row in rows[start : start + PAGE_SIZE]]
        return {"total": len(rows), "page": page, "pages": pages, "posts": listed}

    def describe(self, row: int, *, excerpt: bool = False) -> dict[str, Any]:
        """A post as JSON."""
        sample, found, label = self.samples[row], self.scored.get(row), self.labels[row]
        text = self.text(row)
        if excerpt and text is not None and len(text) > EXCERPT:
            text = f"{text[:EXCERPT]}…"
        return {
            "row": row,
            "id": printable(sample.id),
            "text": None if text is None else printable(text),
            "image": sample.image is not None,
            "label": label or None,
            "predicted": self.predicted.get(row),
            "right": None if found is None else self.predicted[row] == label,
            "probabilities": None if found is None else dict(zip(self.classes, rounded(found), strict=True)),
        }

    def nearest(self, table: CachedFeatures, *, without: int | None = None) -> list[dict[str, Any]]:
        """The training posts nearest to the first post of a table: by cosine, the mean over the modalities it has.

        The row `without` is the post itself.
        """
        sides = {m: side for m, side in table.sides.items() if m in self.vectors and side.present[0]}
        if not sides or not len(self.trained):
            return []
        found = [self.vectors[m] @ _unit(side.pooled[:1])[0] for m, side in sides.items()]
        similarity = np.mean(found, axis=0)
        order = np.argsort(-similarity, kind="stable")
        best = order[self.trained[order] != without][:NEAREST]
        return [
            self.describe(int(self.trained[at]), excerpt=True) | {"similarity": round(float(similarity[at]), 4)}
            for at in best
        ]

    def text(self, row: int) -> str | None:
        """The text of a post; None where there is none, or it cannot be read."""
        given = self.samples[row].text
        try:
            return None if given is None else read_text(given) or None
        except BadItem:
            return None

    def content(self, row: int) -> tuple[bytes | None, str | None]:
        """The image file and the text of a post. Raises BadItem."""
        image = self.samples[row].image
        return None if image is None else read_file(image, "image"), self.text(row)

    def large(self, row: int) -> bytes:
        """The picture of a post as JPEG. Raises BadItem where it has none, or it cannot be read."""
        return self._picture(row, LARGE)

    @cached_property
    def _rows(self) -> frozenset[int]:
        return frozenset(map(int, self.shown))

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {row: (self.text(row) or "").casefold() for row in self._rows}

    def _fits(self, row: int, wanted: PostFilter) -> bool:
        if wanted.label and self.labels[row] != wanted.label:
            return False
        predicted = self.predicted.get(row)
        if wanted.predicted and predicted != wanted.predicted:
            return False
        right = None if predicted is None else predicted == self.labels[row]
        if wanted.outcome and right is not {"right": True, "wrong": False, "unscored": None}[wanted.outcome]:
            return False
        search = wanted.search.strip().casefold()
        return not search or search in self._texts[row] or search in self.samples[row].id.casefold()

    def _picture(self, row: int, side: int) -> bytes:
        file = self.samples[row].image
        if file is None:
            raise BadItem("the post has no image")
        return thumbnail(file, side)


def _pooled_features(corpus: Corpus, run: Run, cache: Path) -> CachedFeatures | None:
    """The pooled features of the posts, but for raw pixels and word pieces; None, which is told, if missing."""
    sides = {m: [spec for spec in run.specs[m] if not spec.raw] for m in MODALITIES}
    if not any(sides.values()):
        return None
    try:
        return load_features(corpus, cache, image=sides["image"], text=sides["text"], tokens=False)
    except ValueError as error:
        notify(f"nearest posts are not shown: {error}")
        return None


def _unit_vectors(table: CachedFeatures, rows: NDArray[np.int64]) -> Mapping[Modality, NDArray[np.float32]]:
    """The pooled vectors (n, D) of rows by modality, of length 1, or 0 where a post lacks it."""
    return {
        modality: _unit(np.where(side.present[rows, None], side.pooled[rows], 0))
        for modality, side in table.sides.items()
    }


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _stored_probabilities(run_folder: Path, posts: Posts, seen: Sequence[Seen]) -> dict[int, NDArray[np.float64]]:
    """The probabilities (K,) of each post that the run tested, by row: the mean over repeats.

    A post that has the id of another one, or whose content has changed since, has none.
    """
    stored = read_run(run_folder).predictions
    if stored is None:
        return {}
    row_of = {name: row for row, name in enumerate(posts.ids) if seen[row].tested}
    found: dict[int, list[NDArray[np.float64]]] = {}
    for (name, _), probabilities in zip(stored.posts, stored.probabilities, strict=True):
        if name in row_of:
            found.setdefault(row_of[name], []).append(probabilities)
    return {row: np.asarray(np.mean(several, axis=0)) for row, several in found.items()}


def labels_of(known: KnownPosts) -> Sequence[str]:
    """The labels that posts have, sorted."""
    return sorted({label for label in known.labels if label})
