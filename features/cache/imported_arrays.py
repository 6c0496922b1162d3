"""Opens and checks embeddings that other programs made: .npy files and a list of ids, memory-mapped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..regular_files import regular

CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class ImportedArrays:
    """N embeddings in their own format: pooled (N, D), tokens (sum of T, D) with offsets (N+1,) or neither, ids (N)."""

    pooled: NDArray[Any]
    ids: Sequence[str]
    tokens: NDArray[Any] | None = None
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    @property
    def dtype(self) -> Any:
        """Number format of the stored tokens: half precision stays half."""
        return "float16" if self.tokens is not None and self.tokens.dtype == np.float16 else "float32"

    def blocks(self) -> Iterator[range]:
        """Row ranges whose vectors have a bounded size."""
        size = self.pooled.nbytes + (0 if self.tokens is None else self.tokens.nbytes)
        step = max(1, CHUNK_BYTES * len(self.ids) // max(1, size))
        for start in range(0, len(self.ids), step):
            yield range(start, min(start + step, len(self.ids)))

    def vectors(self, rows: range) -> NDArray[np.float32]:
        """Pooled vectors (n, D) in the format of the store."""
        return np.asarray(self.pooled[rows.start : rows.stop], np.float32)

    def words(self, rows: range) -> NDArray[np.floating]:
        """Tokens (sum of T, D) in the format of the store."""
        if self.tokens is None:
            return np.empty((0, self.pooled.shape[1]), self.dtype)
        return np.asarray(self.tokens[self.offsets[rows.start] : self.offsets[rows.stop]], self.dtype)


def read_arrays(pooled: Path, ids: Path, tokens: Path | None = None, offsets: Path | None = None) -> ImportedArrays:
    """Open the files and check shapes, formats and every number. Raises ValueError that names the file."""
    if (tokens is None) != (offsets is None):
        raise ValueError("--tokens and --offsets belong together; give both or neither")
    names = _names(ids)
    vectors = _floats(pooled, "(rows, width)")
    if len(vectors) != len(names):
        raise ValueError(f"{pooled} has {len(vectors)} rows, but {ids} has {len(names)} ids; give one id per row")
    arrays = ImportedArrays(vectors, names)
    if tokens is not None and offsets is not None:
        words = _floats(tokens, "(all tokens, width)")
        if words.shape[1] != vectors.shape[1]:
            raise ValueError(
                f"{tokens} is {words.shape[1]} wide, but {pooled} is {vectors.shape[1]}; they must have one width"
            )
        arrays = ImportedArrays(vectors, names, words, _cuts(offsets, len(names), len(words)))
    with np.errstate(over="ignore"):  # a value beyond the stored format becomes infinity, which is refused
        for block in arrays.blocks():
            bad = np.flatnonzero(~np.isfinite(arrays.vectors(block)).all(1))
            if len(bad):
                raise ValueError(_not_finite(pooled, block.start + int(bad[0]), len(bad), names))
            bad = np.flatnonzero(~np.isfinite(arrays.words(block)).all(1))
            if len(bad):
                first = int(arrays.offsets[block.start]) + int(bad[0])
                row = int(np.searchsorted(arrays.offsets, first, side="right")) - 1
                raise ValueError(_not_finite(tokens, row, len(bad), names))
    return arrays


def _not_finite(path: Path | None, row: int, count: int, names: Sequence[str]) -> str:
    more = f", and {count - 1} more there" if count > 1 else ""
    return (
        f"{path}: NaN or infinity (or beyond its stored format) in row {row}, counted from 0, of post "
        f"{names[row]!r}{more}; correct it, or leave out the row and its id"
    )


def _names(path: Path) -> list[str]:
    try:
        names = regular(path).read_text("utf-8-sig").split("\n")
    except ValueError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error}); write one id per line") from error
    names = names[:-1] if names[-1] == "" else names
    if not names:
        raise ValueError(f"{path} is empty; write one id per line")
    (twice, count), repeated = Counter(names).most_common(1)[0], len(names) - len(set(names))
    if repeated:
        raise ValueError(f"{path}: {repeated} ids are repeated, {twice!r} occurs {count} times; give one row per post")
    return names


def _cuts(path: Path, rows: int, tokens: int) -> NDArray[np.int64]:
    cuts = _load(path)
    whole = cuts.dtype.kind in "iu" and cuts.shape == (rows + 1,)
    if not whole or cuts[0] != 0 or cuts[-1] != tokens or (np.diff(cuts.astype(np.int64)) < 0).any():
        raise ValueError(f"{path}: must hold {rows + 1} rising integers from 0 to {tokens}")
    return np.asarray(cuts, np.int64)


def _floats(path: Path, wanted: str) -> NDArray[Any]:
    array = _load(path)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise ValueError(f"{path}: must be an array {wanted} of floats; got {array.dtype} {array.shape}")
    return array


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(regular(path), mode="r")
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{path}: is not an array of numbers ({error}); write it with numpy.save") from error
