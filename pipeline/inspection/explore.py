"""A table of a run's posts with vectors, which the embedding browser `embedding-atlas` opens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...features.messages import notify
from ...features.posts.content import WORKERS
from ...features.posts.samples import Corpus
from ...features.progress import stage, step
from ...features.spec import BadItem
from ...features.store.durable import make_folder, write_atomic
from ..data.cached_features import CachedFeatures, load_features
from ..runs.runs import cache_of, load_run
from ..runs.stored_run import StoredRun
from .exploration import Exploration
from .inspected_run import InspectedRun, inspect_run
from .sources import PostSource

Found = TypeVar("Found", str, bytes)


def explore_run(run: StoredRun, corpus: Corpus, to: Path, *, cache: Path | None = None) -> Exploration:
    """Write the posts of a corpus to a Parquet file, one row each.

    Its columns are id, text, label, prediction, correct, loss, image (the path), picture (a small JPEG) and vector.
    Prediction, correct and loss are those of the test rows, by heads that never saw them, and empty for other posts.
    The vector is what the run's encoders give: the pooled vectors of each, at unit length, one after the other, zeros
    where a post lacks one. It is not the heads' fused vector, since those of different folds cannot be compared.

    Raises ValueError for posts that are not the run's, where the cache lacks them, and for heads on pixels or word ids.
    """
    import pyarrow as pa
    from pyarrow import parquet

    found, loaded = inspect_run(run, corpus), load_run(run.path)
    assert found.source, "there is a corpus"
    if raw := [spec.name for spec in loaded.encoders if spec.raw]:
        raise ValueError(f"{run.path}: {', '.join(raw)} has no vectors, as its head encodes it; give another run")
    image, text = loaded.specs["image"], loaded.specs["text"]
    table = load_features(corpus, cache_of(loaded, cache), image=image, text=text, tokens=False, classes=loaded.classes)
    vectors, ids = unit_vectors(table), [sample.id for sample in corpus.samples]
    stage("writing posts to explore")
    columns = {
        "id": ids,
        "text": _texts(found.source, ids),
        "label": pa.array([sample.label for sample in corpus.samples], pa.string()),
        **_predictions(found, ids),
        "image": pa.array(
            [
                str(one.image.resolve() if isinstance(one.image, Path) else one.image) if one.image else None
                for one in corpus.samples
            ],
            pa.string(),
        ),
        "picture": pa.array(_pictures(found.source, ids), pa.binary()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
    }
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    make_folder(to.parent)
    write_atomic(to, sink.getvalue().to_pybytes())
    return Exploration(to, len(ids))


def unit_vectors(table: CachedFeatures) -> NDArray[np.float32]:
    """The pooled vectors (N, D) of all encoders, each scaled to length 1, so that all have the same influence."""
    parts = []
    for side in table.sides.values():
        cuts = np.cumsum([spec.width for spec in side.specs])[:-1]
        for part in np.split(np.where(side.present[:, None], side.pooled, np.float32(0)), cuts, 1):
            length = np.linalg.norm(part, axis=1, keepdims=True)
            parts.append(part / np.where(length > 0, length, np.float32(1)))
    return np.concatenate(parts, 1)


def _predictions(found: InspectedRun, ids: list[str]) -> dict[str, list[Any]]:
    """Prediction, correct and loss of each id; None for posts that were never tested."""
    posts, row_of = found.posts, {name: row for row, name in enumerate(found.posts.ids)}
    rows = [row_of.get(name) for name in ids]
    right = posts.predicted == posts.truth
    return {
        "prediction": [None if row is None else posts.classes[posts.predicted[row]] for row in rows],
        "correct": [None if row is None else bool(right[row]) for row in rows],
        "loss": [None if row is None else float(posts.loss[row]) for row in rows],
    }


def _texts(source: PostSource, ids: list[str]) -> list[str | None]:
    return _readable("texts", [_try(source.text, name) for name in ids])


def _pictures(source: PostSource, ids: list[str]) -> list[bytes | None]:
    pictures = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, one in enumerate(pool.map(partial(_try, source.thumbnail), ids), 1):
            pictures.append(one)
            step("pictures", number, len(ids), "posts")
    return _readable("images", pictures)


def _try(read: Callable[[str], Found], name: str) -> Found | None:
    try:
        return read(name)
    except BadItem:
        return None


def _readable(what: str, found: list[Found | None]) -> list[Found | None]:
    """The texts or images, empty ones as None; those that cannot be read are counted in a notice."""
    if bad := sum(one is None for one in found):
        notify(f"{bad} {what} cannot be read, or have changed since the run; they are left empty")
    return [one or None for one in found]
