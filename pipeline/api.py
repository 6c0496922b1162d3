"""Python functions of stage one: extract the features of posts, and load them as scikit-learn's X, y and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import EllipsisType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..features.encoders.sources import EncoderRequest
from ..features.extraction import extract as extraction
from ..features.extraction.settings import ExtractSettings
from ..features.posts.layouts import ReadOptions, read_corpus
from ..features.posts.remote.settings import Remote
from ..features.posts.samples import Corpus
from .config.presets import Preset, read_preset
from .config.values import Grid
from .data import cached_features as data
from .data.cached_features import find_spec
from .data.test_posts import mark_test_posts
from .estimators.feature_table import FeatureTable

Names = str | Sequence[str] | None
LabelRule = Literal["paper", "text", "image", "agree"]
IMAGE, TEXT = "efficientnet_lite0", "minilm"


class Features(NamedTuple):
    """Posts with their features: X, labels y (None for unlabelled posts), duplicate groups and ids (N,) each.

    Give `groups` to the splitter, and to `fit`, so that copies of a post are always in the same part.
    """

    X: FeatureTable
    y: NDArray[np.str_] | None
    groups: NDArray[np.int64]
    ids: NDArray[np.str_]


def extract(
    posts: str | Path,
    *,
    preset: Preset | None = None,
    image: Names | EllipsisType = ...,
    text: Names | EllipsisType = ...,
    cache: str | Path = "cache",
    tokens: bool = True,
    device: str = "auto",
    layout: str = "auto",
    label_rule: LabelRule = "paper",
    columns: Mapping[str, str] = {},
    images: str | Path | None = None,
    remote: bool = False,
    keep_images: str | Path | None = None,
) -> extraction.Extraction:
    """Embed the posts once, as `msa extract` does; None leaves a modality out. Cached posts are not encoded again.

    Encoders that are not given are those of the `preset`, or else `efficientnet_lite0` and `minilm`.
    `columns` names the columns of a table that are called otherwise than id, image, text, label, split, group; `images`
    is the folder that image paths count from; None: that of the table, or data/. With `remote`, images that are links
    are fetched, and with `keep_images` kept in that folder.

    Raises ValueError for missing posts, encoders or weights.

    >>> msa.extract("posts", image="efficientnet_lite0", text="minilm")
    """
    reading = partial(read_posts, layout=layout, label_rule=label_rule, columns=columns, images=images)
    corpus = reading(posts, remote=remote, keep_images=keep_images)
    settings = ExtractSettings(device=device, tokens=tokens)
    usual = {"image": IMAGE, "text": TEXT} | (read_preset(preset) if preset else {})
    request = EncoderRequest(
        _names(usual["image"] if isinstance(image, EllipsisType) else image),
        _names(usual["text"] if isinstance(text, EllipsisType) else text),
    )
    return extraction.extract(corpus, request, Path(cache), settings)


def load_features(
    posts: str | Path,
    *,
    image: Names = IMAGE,
    text: Names = TEXT,
    cache: str | Path = "cache",
    rows: Literal["labelled", "unlabelled"] = "labelled",
    tokens: bool = False,
    patches: Grid | None = (4, 4),
    layout: str = "auto",
    label_rule: LabelRule = "paper",
    columns: Mapping[str, str] = {},
    images: str | Path | None = None,
    near_duplicates: bool = False,
) -> Features:
    """Load the cached features of posts, the labelled or the unlabelled ones; None leaves a modality out.

    With `tokens` the table has those too, images' pooled to the grid `patches`; heads such as attention read them,
    and they take many times the memory. With `near_duplicates` those share a group. Test posts, and copies of them, are
    left out. `columns` names the columns of a table that are called otherwise, as `{"text": "tweet"}`.

    Returns X, as an array (N, I + E), labels y (N,), groups (N,) and ids (N,). Raises ValueError for posts that were
    not extracted, or where no such row is left.

    >>> X, y, groups, ids = msa.load_features("posts", image="efficientnet_lite0", text="minilm")
    """
    if rows not in ("labelled", "unlabelled"):
        raise ValueError(f"rows must be labelled or unlabelled, got {rows!r}")
    folder = Path(cache)
    table = data.load_features(
        read_posts(posts, layout=layout, label_rule=label_rule, columns=columns, images=images),
        folder,
        image=[find_spec(folder, name, "image") for name in _names(image)],
        text=[find_spec(folder, name, "text") for name in _names(text)],
        tokens=tokens,
        patches=patches,
        near_duplicates=near_duplicates,
    )
    labels = np.array([label or "" for label in table.posts.labels])
    wanted = np.array([(label is not None) == (rows == "labelled") for label in table.posts.labels])
    chosen = np.flatnonzero(wanted & ~mark_test_posts(table.posts, folder / "splits").in_test_set)
    if not len(chosen):
        raise ValueError(f"no {rows} posts in {posts} outside the test split; `msa check` shows what was read")
    ids = np.array(table.posts.ids)[chosen]
    known = labels[chosen] if rows == "labelled" else None
    return Features(FeatureTable.of(table.image, table.text)[chosen], known, table.posts.groups[chosen], ids)


def read_posts(
    posts: str | Path,
    *,
    layout: str = "auto",
    label_rule: LabelRule = "paper",
    columns: Mapping[str, str] = {},
    images: str | Path | None = None,
    remote: bool = False,
    keep_images: str | Path | None = None,
) -> Corpus:
    """The posts of a folder or of a table; the options are those of `extract`."""
    links = Remote(remote, None if keep_images is None else Path(keep_images))
    options = ReadOptions(label_rule, dict(columns), None if images is None else Path(images), links)
    return read_corpus(Path(posts), layout=layout, options=options)


def _names(given: Names) -> tuple[str, ...]:
    """Encoder names of one modality; `none` is none, as on the command line."""
    names = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    return tuple(name for name in names if name != "none")
