"""One part of the store: an immutable HDF5 file whose first 512 bytes hold its format version and checksums.

Layout: `keys` (N,) 32 hex digits, with tokens `offsets` (N+1,) int64, then the embeddings: `pooled` (N, D) float32 and
`tokens` (sum of T, D). HDF5 skips the leading block ("user block"), so h5py and HDFView open a part directly.
The bytes before the embeddings have a checksum of their own, compared at every opening: HDF5 may hang on damage there.
The attribute `seconds` is the time that extracting the rows took; without it the cost is unknown.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..spec import EncoderSpec
from .durable import Sink, naming, publish, temporary
from .json_files import check_format

HEADER_BYTES = 512
COPY_BYTES = 16 << 20
CHECK_BYTES = 16 << 20
FORMAT = 3
FIELDS = {"msa", "rows", "bytes", "crc32", "data", "index"}  # of the header
KEY = np.dtype("S32")


class StoreError(ValueError):
    """The cache on disk is damaged, foreign, or lacks what was asked of it."""


@dataclass(frozen=True)
class EmbeddingBlock:
    """n embeddings: keys (n,), pooled (n, D) float32; tokens (sum of T, D) with offsets (n+1,), or neither."""

    keys: NDArray[np.bytes_]
    pooled: NDArray[np.float32]
    tokens: NDArray[Any] | None = None
    offsets: NDArray[np.int64] | None = None

    def token_rows(self) -> list[Any]:
        """The tokens (T, D) of each row; None for each where they are left out."""
        if self.tokens is None or self.offsets is None:
            return [None] * len(self.keys)
        return np.split(self.tokens, self.offsets[1:-1])


@dataclass(frozen=True)
class Part:
    """A published part: its file, its keys (N,) in row order, and the seconds that extracting them took."""

    path: Path
    bytes: int
    has_tokens: bool
    keys: NDArray[np.bytes_]
    seconds: float = math.nan  # unknown

    def __len__(self) -> int:
        return len(self.keys)


def open_part(path: Path, spec: EncoderSpec) -> Part:
    """Read a part's header and keys; raise StoreError if it is torn or was written by another encoder."""
    header = _read_header(path)
    size = path.stat().st_size
    if size != header["bytes"]:
        raise StoreError(
            f"{path}: {header['bytes']} bytes were written, {size} are there; delete the file and extract again"
        )
    if header["index"] != _index_checksum(path, header["data"]):
        raise StoreError(f"{path}: its bytes differ from its checksum; delete the file and extract again")
    try:
        with h5py.File(path, "r", locking=False) as file:
            written = EncoderSpec.from_json(str(file.attrs["spec"]))
            fingerprint = written.fingerprint
            keys = file["keys"][:]
            has_tokens = "tokens" in file
            seconds = float(file.attrs.get("seconds", math.nan))
    except FileNotFoundError:  # merged away since its header was read
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not a readable part ({error}); delete the file and extract again") from error
    if len(keys) != header["rows"]:
        raise StoreError(
            f"{path}: {header['rows']} rows were written, {len(keys)} are there; delete it and extract again"
        )
    if written != spec:
        raise StoreError(
            f"{path}: written by encoder {written.name!r} {fingerprint}, wanted {spec.name!r} "
            f"{spec.fingerprint}; use another cache folder"
        )
    return Part(path, size, has_tokens, keys, seconds)


def verify_part(path: Path) -> None:
    """Compare every byte of a part with its digest; raise StoreError if one differs."""
    header = _read_header(path)
    if header["crc32"] != _checksum(path):
        raise StoreError(f"{path}: its bytes differ from its checksum; delete the file and extract again")


def write_part(
    folder: Path,
    spec: EncoderSpec,
    blocks: Iterator[EmbeddingBlock],
    *,
    rows: int,
    token_rows: int | None,
    seconds: float = math.nan,
) -> Path:
    """Write `rows` embeddings, given as blocks, as one new durable part; return its path.

    `token_rows` is the sum of T over all rows, or None for a part without tokens. `seconds` is the time that
    extracting them took, NaN if unknown.
    """
    temp = temporary(folder)
    try:
        with naming(folder):
            with temp.open("wb+", buffering=0) as raw:
                sink = Sink(raw)
                try:
                    with h5py.File(sink, "w", userblock_size=HEADER_BYTES, libver="v110") as file:
                        if not math.isnan(seconds):
                            file.attrs["seconds"] = seconds
                        data = _fill(file, spec, blocks, rows, token_rows, sink)
                finally:
                    sink.check()
            size, crc32, index = temp.stat().st_size, _checksum(temp), _index_checksum(temp, data)
            header = {"msa": FORMAT, "rows": rows, "bytes": size, "data": data, "index": index, "crc32": crc32}
            with temp.open("rb+") as whole:
                whole.write(_header_block(header))
        final = folder / f"part-{time.time_ns():020d}-{secrets.token_hex(4)}.h5"
        publish(temp, final)
        return final
    finally:
        temp.unlink(missing_ok=True)


def _fill(
    file: h5py.File, spec: EncoderSpec, blocks: Iterator[EmbeddingBlock], rows: int, token_rows: int | None, sink: Sink
) -> int:
    """Write all but the header; return the byte at which the embeddings begin, which are the last in the file."""
    file.attrs["spec"] = spec.to_json()
    file.attrs["rows"] = rows
    keys = file.create_dataset("keys", (rows,), KEY)
    if token_rows is not None:
        offsets = file.create_dataset("offsets", data=np.zeros(rows + 1, np.int64))
    pooled = file.create_dataset("pooled", (rows, spec.width), np.float32)
    if token_rows is not None:
        tokens = file.create_dataset("tokens", (token_rows, spec.width), np.dtype(spec.dtype))
    row = token = 0
    for block in blocks:
        stop = row + len(block.keys)
        keys[row:stop] = block.keys  # before the embeddings: HDF5 gives a dataset its place at the first write
        pooled[row:stop] = block.pooled
        if token_rows is not None:
            assert block.tokens is not None
            assert block.offsets is not None
            tokens[token : token + len(block.tokens)] = block.tokens
            offsets[row + 1 : stop + 1] = token + block.offsets[1:]
            token += len(block.tokens)
        row = stop
        sink.check()
    assert row == rows
    assert token_rows is None or token == token_rows
    return int(pooled.id.get_offset())


def read_part(
    part: Part, wanted: NDArray[np.bool_], *, tokens: bool
) -> Iterator[tuple[NDArray[np.int64], EmbeddingBlock]]:
    """Yield the wanted rows (mask (N,)) in blocks of bounded size: row numbers in the part, and the rows."""
    with h5py.File(part.path, "r", locking=False) as file:
        width = file["pooled"].shape[1]
        offsets = file["offsets"][:] if tokens else None
        per_row = width * 4
        if offsets is not None and len(part):
            per_row += int(offsets[-1]) * width * file["tokens"].dtype.itemsize // len(part)
        step = max(1, COPY_BYTES // max(1, per_row))
        for start in range(0, len(part), step):
            stop = min(start + step, len(part))
            rows = np.flatnonzero(wanted[start:stop])
            if not len(rows):
                continue
            numbers = rows + start
            pooled = file["pooled"][start:stop][rows]
            if offsets is None:
                yield numbers, EmbeddingBlock(part.keys[numbers], pooled)
                continue
            block = file["tokens"][offsets[start] : offsets[stop]]
            lengths = np.diff(offsets[start : stop + 1])
            if len(rows) < stop - start:
                block = block[np.repeat(wanted[start:stop], lengths)]
            kept = np.concatenate(([0], np.cumsum(lengths[rows]))).astype(np.int64)
            yield numbers, EmbeddingBlock(part.keys[numbers], pooled, block, kept)


def token_lengths(part: Part) -> NDArray[np.int64]:
    """Number of tokens of each row (N,) of a part that has them."""
    with h5py.File(part.path, "r", locking=False) as file:
        lengths: NDArray[np.int64] = np.diff(file["offsets"][:])
        return lengths


def data_bytes(spec: EncoderSpec, rows: int, token_rows: float | None) -> int:
    """Bytes that rows take in a part, with `token_rows` tokens in all or none; HDF5 adds a few thousand per part."""
    pooled = rows * (KEY.itemsize + spec.width * np.dtype(np.float32).itemsize)
    if token_rows is None:
        return pooled
    return pooled + round(token_rows * spec.width * np.dtype(spec.dtype).itemsize) + rows * np.dtype(np.int64).itemsize


def _header_block(header: dict[str, object]) -> bytes:
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return text.ljust(HEADER_BYTES, b"\0")


def _read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        block = file.read(HEADER_BYTES)
    try:
        header = json.loads(block.rstrip(b"\0"))
        if not isinstance(header, dict) or "msa" not in header or block != _header_block(header):
            raise ValueError("foreign header")
        check_format(header["msa"], FORMAT)
        if set(header) != FIELDS:
            raise ValueError("foreign header")
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: not a part written by msa, or damaged ({error}); delete it and extract again"
        ) from error
    return dict(header)


def _checksum(path: Path) -> str:
    """Digest of the CRC-32 of each block behind the header; in threads, so that it is as fast as the disk."""

    def block(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(CHECK_BYTES)).to_bytes(4, "big")

    with ThreadPoolExecutor(4) as pool:
        blocks = pool.map(block, range(HEADER_BYTES, path.stat().st_size, CHECK_BYTES))
        return hashlib.blake2b(b"".join(blocks), digest_size=16).hexdigest()


def _index_checksum(path: Path, data: int) -> int:
    """CRC-32 of the bytes between the header and the embeddings: HDF5's own records, the keys and the offsets."""
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        return zlib.crc32(file.read(data - HEADER_BYTES))
