"""A run with its encoders loaded once: posts in memory to features to predictions, with no cache between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.blob import content_key
from ...features.encoders.encoder import Encoded, Encoder, WholePost
from ...features.extraction.batches import batches
from ...features.extraction.embed import unstorable
from ...features.extraction.settings import ExtractSettings
from ...features.posts.content import post_key, text_key
from ...features.posts.images import decode_image
from ...features.posts.text import clean_text, read_text
from ...features.spec import MODALITIES, BadItem, EncoderSpec, Modality, Reads
from ...features.words.word_pieces import Splitter
from ..data.cached_features import (
    CachedFeatures,
    ModalityTable,
    fill_view,
    join_encoders,
)
from ..data.patches import coarsen
from ..data.ragged import Ragged
from ..data.split import Posts
from ..explanation.originals import open_splitters
from ..predict import Predictions, is_blank, predict_table
from ..runs.run_encoders import run_sources
from ..runs.runs import Run, load_run

WARM_TEXT = "a text to warm the encoders"
WARM_SIDE = 64  # pixels of the picture to warm them

Vectors = tuple[NDArray[np.float32], NDArray[Any]]  # pooled (D,) and tokens (T, D) of one item, as they are stored


@dataclass(frozen=True)
class PreparedPost:
    """A post as the encoders take it: the input of each encoder by slug; `size` (height, width) of its picture."""

    inputs: Mapping[str, Any]
    text: str | None = None
    size: tuple[int, int] | None = None
    unused: tuple[Modality, ...] = ()  # what was given, and no encoder reads


class WarmModel:
    """A run that is ready to predict posts; its methods are thread-safe."""

    def __init__(
        self,
        run: Run,
        encoders: Mapping[str, Encoder],
        settings: ExtractSettings,
        splitters: Mapping[str, Splitter] = {},
    ) -> None:
        """`encoders` are loaded ones by slug, one for each spec; `splitters` join the tokens of a text to words."""
        self.run, self.encoders, self.settings, self.splitters = run, encoders, settings, splitters
        self.runtime = settings.choose_runtime()
        self.streams = ThreadPoolExecutor(self.runtime.streams, "encode")
        self.heads = Lock()  # torch's number of threads, which the heads set, is one for all threads
        for head in run.heads:
            head.eval()

    @classmethod
    def load(
        cls, run_folder: Path, *, cache: Path | None, settings: ExtractSettings, local_files_only: bool
    ) -> WarmModel:
        """Load a run and its encoders. Raises ValueError as `predict_post`."""
        run = load_run(run_folder)
        runtime = settings.choose_runtime()
        sources = run_sources(run, cache or run.cache, local_files_only)
        encoders = {spec.slug: source.load(runtime) for spec, source in zip(run.encoders, sources, strict=True)}
        return cls(run, encoders, settings, open_splitters(sources) if run.config.tokens else {})

    @cached_property
    def reads(self) -> tuple[Modality, ...]:
        """The parts of a post that the run's encoders read: of the text inside images, the image."""
        return tuple(part for part in MODALITIES if any(spec.reads in (part, "post") for spec in self.run.encoders))

    def warm(self) -> None:
        """Predict one drawn post, so that the first that counts need not wait for what happens once."""
        import torch

        image = torch.full((3, WARM_SIDE, WARM_SIDE), 128, dtype=torch.uint8)
        drawn: dict[Reads, Any] = {"image": image, "text": WARM_TEXT, "post": WholePost(image, WARM_TEXT)}
        inputs: dict[str, Any] = {}
        for reads, item in drawn.items():
            inputs |= self._inputs(reads, item, "0" * 32, optional=True)
        self.predict([PreparedPost(inputs)])

    def prepare(self, image: bytes | None, text: str | None) -> PreparedPost:
        """Decode and preprocess a post. Raises ValueError for one that cannot be read, or has nothing that is read.

        A blank text is none.
        """
        if text is not None and is_blank(text):
            text = None
        given = tuple(name for name, part in zip(MODALITIES, (image, text), strict=True) if part is not None)
        if not set(given) & set(self.reads):
            wanted = " or ".join({"image": "an image", "text": "a text"}[one] for one in self.reads)
            raise ValueError(f"the post has {' and '.join(given) or 'neither image nor text'}; the run reads {wanted}")
        inputs: dict[str, Any] = {}
        size = pixels = None
        with ExitStack() as using:
            if image is not None and "image" in self.reads:
                pixels = _reading("image", decode_image, image, using)
                size = pixels.shape[1], pixels.shape[2]
                inputs |= self._inputs("image", pixels, content_key(image))
            if text is not None and "text" in self.reads:
                text = _reading("text", read_text, text)
                inputs |= self._inputs("text", text, text_key(text))
            if image is not None and text is not None and pixels is not None:
                key = post_key(content_key(image), text_key(text))
                inputs |= self._inputs("post", WholePost(pixels, text), key or "")
        if not inputs:
            raise ValueError(f"the post has {' and '.join(given)} alone; the run reads image and text together")
        return PreparedPost(inputs, text, size, tuple(name for name in given if name not in self.reads))

    def features(self, posts: Sequence[PreparedPost]) -> tuple[CachedFeatures, dict[int, str]]:
        """The features of B posts as the cache would hold them, and why a post's were refused, by row."""
        found, refused = self._encode(posts)
        tables = {m: self._table(found, self.run.specs[m]) for m in MODALITIES if self.run.specs[m]}
        if self.run.views:
            plain = tables["image"]
            views = tuple(fill_view(self._table(found, specs), plain) for specs in self.run.views)
            tables["image"] = ModalityTable(**{**vars(plain), "views": views})
        rows = len(posts)
        known = Posts([str(row) for row in range(rows)], [None] * rows, np.arange(rows), [None] * rows)
        return CachedFeatures(known, self.run.classes, tables.get("image"), tables.get("text")), refused

    def predict(self, posts: Sequence[PreparedPost]) -> list[Predictions | ValueError]:
        """Predict B posts together: for each its prediction, or why there is none."""
        table, refused = self.features(posts)
        try:
            with self.heads:
                found = predict_table(self.run, table, self.settings.device, False)
        except ValueError as error:  # of one post, which the others need not share
            if len(posts) == 1:
                return [error]
            return [one for post in posts for one in self.predict([post])]
        return [ValueError(refused[row]) if row in refused else found.of_row(row) for row in range(len(posts))]

    def close(self) -> None:
        self.streams.shutdown()

    def _inputs(self, reads: Reads, item: Any, key: str, *, optional: bool = False) -> dict[str, Any]:
        """The input of each encoder that reads this; `optional` leaves out an encoder that refuses the item."""
        inputs = {}
        for spec in self.run.encoders:
            if spec.reads == reads:
                cleaned = _reading("text", clean_text, item, spec.clean) if reads == "text" else item
                try:
                    inputs[spec.slug] = _reading(spec.modality, self.encoders[spec.slug].preprocess, cleaned, key)
                except ValueError:
                    if not optional:
                        raise
        return inputs

    def _encode(self, posts: Sequence[PreparedPost]) -> tuple[dict[str, list[Vectors | None]], dict[int, str]]:
        """The vectors of each post by each encoder, by slug; batches of all encoders are computed in parallel."""
        pending: list[tuple[EncoderSpec, list[int], Future[tuple[Encoded, ...]]]] = []
        for spec in self.run.encoders:
            encoder = self.encoders[spec.slug]
            rows = [row for row, post in enumerate(posts) if spec.slug in post.inputs]
            lengths = {row: encoder.length(posts[row].inputs[spec.slug]) for row in rows}
            rows.sort(key=lambda row: -lengths[row])
            budget = self.settings.budget(spec.batched_by, self.runtime)
            for batch in batches([lengths[row] for row in rows], budget):
                chosen = [rows[at] for at in batch]
                given = [posts[row].inputs[spec.slug] for row in chosen]
                pending.append((spec, chosen, self.streams.submit(encoder.encode, given)))
        found: dict[str, list[Vectors | None]] = {spec.slug: [None] * len(posts) for spec in self.run.encoders}
        refused: dict[int, str] = {}
        for spec, chosen, future in pending:
            encoded = future.result()[self.encoders[spec.slug].specs.index(spec)]
            for row, pooled, tokens in zip(chosen, encoded.pooled, encoded.tokens, strict=True):
                with np.errstate(over="ignore"):  # as where they are stored
                    stored = tokens.astype(spec.dtype, copy=False)
                if reason := unstorable(spec, pooled, stored):
                    refused[row] = f"the post's {spec.modality} cannot be embedded: {reason}"
                else:
                    found[spec.slug][row] = pooled, stored
        return found, refused

    def _table(self, found: Mapping[str, Sequence[Vectors | None]], specs: Sequence[EncoderSpec]) -> ModalityTable:
        """The encoders of one modality, or of one view of it, as a table."""
        config = self.run.config
        return join_encoders(
            [encoder_table(spec, found[spec.slug], config.tokens, config.patches) for spec in specs],
            tokens=config.tokens,
        )


def encoder_table(
    spec: EncoderSpec, vectors: Sequence[Vectors | None], tokens: bool, patches: tuple[int, int] | None
) -> ModalityTable:
    """One encoder's vectors of N posts as a table, None for a post without."""
    present = np.array([one is not None for one in vectors], bool)
    pooled = np.zeros((len(vectors), spec.width), np.float32)
    for row, one in enumerate(vectors):
        if one is not None:
            pooled[row] = one[0]
    if not tokens and not spec.raw:
        return ModalityTable((spec,), present, pooled)
    grid = patches if spec.modality == "image" and not spec.raw else None
    rows = [None if one is None else coarsen(one[1], grid) if grid else one[1] for one in vectors]
    dtype = np.float32 if grid else spec.dtype
    return ModalityTable((spec,), present, pooled, Ragged.of(rows, width=spec.width, dtype=dtype))


def _reading(modality: Modality, read: Any, *given: Any) -> Any:
    """What `read` returns; what it cannot read is a ValueError that says which part of the post it is."""
    try:
        return read(*given)
    except BadItem as error:
        raise ValueError(f"the post's {modality} cannot be embedded: {error}") from error
    except MemoryError as error:
        raise ValueError(f"the post's {modality} cannot be embedded: not enough memory to read it") from error
