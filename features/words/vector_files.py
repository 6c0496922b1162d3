"""Reads files of word vectors in open formats: word2vec text and binary, GloVe text. Pickles are refused."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..regular_files import regular

VectorFormat = Literal["binary", "text", "bare"]
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors (V, D); a document model also has its output layer (V, D) and sampling table (V,).

    Raises ValueError for other shapes, formats or numbers: gensim's C code reads them unchecked.
    """

    words: Sequence[str]
    vectors: NDArray[np.float32]
    hidden: NDArray[np.float32] | None = None
    sampling: NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        count = len(self.words)
        if not all(isinstance(word, str) for word in self.words) or len(set(self.words)) != count:
            raise ValueError("its words must be distinct texts")
        if (self.hidden is None) != (self.sampling is None):
            raise ValueError("an output layer and a sampling table belong together")
        if self.vectors.ndim != 2:
            raise ValueError(f"its vectors must be a table; got shape {self.vectors.shape}")
        for name, array in (("vectors", self.vectors), ("output layer", self.hidden)):
            if array is None:
                continue
            if array.dtype != np.float32 or array.shape != (count, self.vectors.shape[1]):
                raise ValueError(
                    f"its {name} must be float32, a row for each of {count} words; got {array.dtype} {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"its {name} hold NaN or infinity")
        table = self.sampling
        if table is None:
            return
        rising = table.shape == (count,) and not (table[1:] < table[:-1]).any() and table[-1:].any()
        if table.dtype != np.uint32 or not rising:
            raise ValueError(f"its sampling table must be {count} rising whole numbers (uint32)")


def sniff(path: Path) -> tuple[VectorFormat, int]:
    """Format and width D of a vectors file: word2vec binary or text, or GloVe text without a header; also as .gz.

    Raises ValueError for anything else, above all for gensim's own pickled format, which could run code.
    """
    try:
        with _open(path) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"vectors file {str(path)!r} cannot be read: {error}; check the path") from error
    if head.startswith(b"\x80"):
        raise ValueError(
            f"{str(path)!r} is a pickle, and reading it could run code; "
            "load it where you trust it and export it with .wv.save_word2vec_format(FILE)"
        )
    first, _, rest = head.partition(b"\n")
    fields = first.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        width = int(fields[1])
        return ("text" if _is_row(rest.partition(b"\n")[0].split(), width) else "binary"), width
    if len(fields) > 2 and _is_row(fields, len(fields) - 1):
        return "bare", len(fields) - 1
    raise ValueError(f"{str(path)!r} must be word2vec text or binary, or GloVe text; it begins {first[:40]!r}")


def _is_row(fields: Sequence[bytes], width: int) -> bool:
    try:
        return len([float(field) for field in fields[1:]]) == width
    except ValueError:
        return False


def read_vectors(path: Path, format: VectorFormat, width: int) -> WordVectors:
    """Read a vectors file of a known format. Raises ValueError when it is damaged."""
    from gensim.models import KeyedVectors

    try:
        if format == "bare":
            return _read_bare(path, width)
        vectors = KeyedVectors.load_word2vec_format(str(path), binary=format == "binary", unicode_errors="replace")
        return WordVectors(vectors.index_to_key, vectors.vectors)
    except (ValueError, OverflowError, EOFError, OSError) as error:
        raise ValueError(f"vectors file {str(path)!r} is damaged: {error}; download it again") from error
    except MemoryError as error:
        raise ValueError(
            f"vectors file {str(path)!r} needs more memory than there is; take a smaller one, or download it again"
        ) from error


def _read_bare(path: Path, width: int) -> WordVectors:
    """GloVe text. Some of its words hold spaces, so the numbers are counted from the end of the line."""
    rows: dict[str, NDArray[np.float32]] = {}
    with _open(path) as file:
        for line in file:
            fields = line.decode("utf-8", "replace").split()
            if len(fields) <= width:
                raise ValueError(f"row {len(rows) + 1} has {len(fields)} fields, not {width + 1}")
            rows[" ".join(fields[:-width])] = np.array(fields[-width:], np.float32)
    return WordVectors(list(rows), np.stack(list(rows.values())))


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(regular(path)) if path.suffix == ".gz" else regular(path).open("rb")
