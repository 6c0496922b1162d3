"""Random features of posts whose text has a vector of its own and one of image and text together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msa.features.spec import EncoderSpec, Modality
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable, join_encoders
from msa.pipeline.data.split import Posts

N = 60
WIDTHS = {"image": 12, "text": 6, "joint": 4}  # 12 and 10 columns, as other tests of heads have them
NO_IMAGE, NO_TEXT = (1, 5, 9), (2, 6)


def joint_posts(*, other: bool = False, plain: bool = True) -> CachedFeatures:
    """N posts of three classes, some without a modality; with `other`, what embeds both together is another vector.

    Without `plain`, that is the only vector of the text.
    """
    draw = np.random.default_rng(0)
    rows = np.arange(N)
    there = {"image": ~np.isin(rows, NO_IMAGE), "text": ~np.isin(rows, NO_TEXT)}
    there["joint"] = there["image"] & there["text"]
    vectors = {name: draw.normal(size=(N, width)).astype(np.float32) for name, width in WIDTHS.items()}
    for number, columns in enumerate(vectors.values()):
        columns[rows, rows % 3 + number % 2] += 2
    if other:
        vectors["joint"] = np.random.default_rng(1).normal(size=vectors["joint"].shape).astype(np.float32) * 2
    image = _table("image", "{}", vectors["image"], there["image"])
    joint = _table("text", '{"joint":true}', vectors["joint"], there["joint"])
    text = [_table("text", "{}", vectors["text"], there["text"])] if plain else []
    labels: list[str | None] = ["abc"[row % 3] for row in rows]
    posts = Posts([str(row) for row in rows], labels, rows, [None] * N)
    return CachedFeatures(posts, ("a", "b", "c"), image, join_encoders([*text, joint], tokens=False))


def _table(
    modality: Modality, preprocess: str, vectors: NDArray[np.float32], present: NDArray[np.bool_]
) -> ModalityTable:
    width = vectors.shape[1]
    spec = EncoderSpec(f"{modality}{width}", modality, "import", "", "", "", "", preprocess, width, "float32")
    return ModalityTable((spec,), present, np.where(present[:, None], vectors, 0))
