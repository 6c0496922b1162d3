"""Files of word vectors in the open formats: word2vec text and binary, GloVe text. Pickles are refused."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

VectorFormat = Literal["binary", "text", "bare"]
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors (V, D); a document model also has its output layer (V, D) and sampling table (V,)."""

    words: Sequence[str]
    vectors: NDArray[np.float32]
    hidden: NDArray[np.float32] | None = None
    sampling: NDArray[np.uint32] | None = None


def sniff(path: Path) -> tuple[VectorFormat, int]:
    """VectorFormat and width D of a vectors file: word2vec binary or text, or GloVe text without a header; .gz too.

    Raises ValueError for anything else, above all for gensim's own pickled format, which could run code.
    """
    try:
        with _open(path) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, EOFError) as error:
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
    raise ValueError(f"{str(path)!r} should be in word2vec format (text or binary) or GloVe text; got {first[:40]!r}")


def _is_row(fields: Sequence[bytes], width: int) -> bool:
    try:
        return len([float(field) for field in fields[1:]]) == width
    except ValueError:
        return False


def read_vectors(path: Path, layout: VectorFormat) -> WordVectors:
    """Read a vectors file of a known layout. Raises ValueError when it is damaged."""
    from gensim.models import KeyedVectors

    try:
        if layout == "bare":
            return _read_bare(path)
        vectors = KeyedVectors.load_word2vec_format(str(path), binary=layout == "binary", unicode_errors="replace")
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"vectors file {str(path)!r} is damaged: {error}; download it anew") from error
    return WordVectors(vectors.index_to_key, vectors.vectors)


def _read_bare(path: Path) -> WordVectors:
    """GloVe text. A few of its words hold spaces, so the numbers are counted from the end of the line."""
    _, width = sniff(path)
    rows: dict[str, NDArray[np.float32]] = {}
    with _open(path) as file:
        for line in file:
            fields = line.decode("utf-8", "replace").split()
            if len(fields) <= width:
                raise ValueError(f"row {len(rows) + 1} has {len(fields)} fields, not {width + 1}")
            rows[" ".join(fields[:-width])] = np.array(fields[-width:], np.float32)
    return WordVectors(list(rows), np.stack(list(rows.values())))


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
