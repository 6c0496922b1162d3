"""`--long-text windows`: embeds all of a text that is longer than the encoder's limit, window by window."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec import EncoderSpec, canonical
from ..words.windows import split_windows, windowed_splitter
from .encoder import Encoded, Encoder, Source
from .views import share_loaded

WINDOWED = ("transformers", "sentence-transformers")  # sources of encoders whose models have a limit
AT_ONCE = 32_768  # word pieces of a forward pass, padding included


def window_source(source: Source) -> Source:
    """A text encoder that embeds a long text in windows, as an encoder of its own. Raises ValueError for other sources.

    The windows of a text are its fewest parts of about equal length that the encoder takes whole, each embedded as a
    text, with the prompt before it. Their tokens follow one another; the vector is the mean of theirs, weighted by
    their tokens, or for `max` the maximum, so that `mean` and `max` are those of all tokens.
    """
    if source.spec.source not in WINDOWED:
        raise ValueError(
            f"{source.spec.name!r} embeds no windows of a text, as it is no neural network; extract it in a command of "
            "its own, without --long-text windows"
        )
    specs = tuple(
        replace(spec, preprocess=canonical(json.loads(spec.preprocess) | {"truncation": "windows"}))
        for spec in source.specs
    )
    words, shared = source.words, share_loaded(source)
    return Source(
        specs,
        lambda runtime: WindowEncoder(specs, shared.load(runtime)),
        None if words is None else lambda: windowed_splitter(words()),
    )


class WindowEncoder(Encoder):
    """A loaded text encoder that gets the windows of each text."""

    def __init__(self, specs: Sequence[EncoderSpec], plain: Encoder) -> None:
        self.specs = tuple(specs)
        self.plain = plain

    def preprocess(self, item: str, key: str = "") -> list[Any]:
        """What the plain encoder takes of each window."""
        whole = self.plain.preprocess(item, key)
        if not self.plain.is_cut(item, whole):
            return [whole]
        return [self.plain.preprocess(window, key) for window in split_windows(item, self._is_cut)]

    def length(self, prepared: Sequence[Any]) -> int:
        """Number of word pieces of all windows."""
        return sum(map(self.plain.length, prepared))

    def encode(self, batch: Sequence[Sequence[Any]]) -> tuple[Encoded, ...]:
        windows = [window for item in batch for window in item]
        lengths = np.array([self.plain.length(window) for window in windows])
        ends = np.cumsum([len(item) for item in batch])[:-1]
        size = max(1, AT_ONCE // int(lengths.max()))
        runs = [self.plain.encode(windows[start : start + size]) for start in range(0, len(windows), size)]
        return tuple(
            _join(spec, parts, lengths, ends) for spec, parts in zip(self.specs, zip(*runs, strict=True), strict=True)
        )

    def _is_cut(self, text: str) -> bool:
        return self.plain.is_cut(text, self.plain.preprocess(text))


def _join(spec: EncoderSpec, parts: Sequence[Encoded], lengths: NDArray[np.int64], ends: NDArray[np.int64]) -> Encoded:
    """The embeddings of texts from those of their windows (W, D) with `lengths` (W,); texts end before `ends`."""
    vectors, weights = (np.split(array, ends) for array in (np.concatenate([p.pooled for p in parts]), lengths))
    tokens = iter([tokens for part in parts for tokens in part.tokens])
    if spec.pool == "max":
        pooled = [own.max(0) for own in vectors]
    else:
        pooled = [np.average(own, 0, weight).astype(np.float32) for own, weight in zip(vectors, weights, strict=True)]
    return Encoded(np.stack(pooled), [np.concatenate([next(tokens) for _ in own]) for own in vectors])
