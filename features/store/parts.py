"""One part of the store: an immutable HDF5 file whose first 512 bytes hold its format version and checksums.

Layout: `keys` (N,) 32 hex digits, with tokens `offsets` (N+1,) int64, then the embeddings: `pooled` (N, D) float32 and
`tokens` (sum of T, D). HDF5 skips the leading block ("user block"), so h5py and HDFView open a part directly.
The bytes before the embeddings have a checksum of their own, compared at every opening: HDF5 may hang on damage there.
The attribute `seconds` is the time that extracting the rows took; without it the cost is unknown.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..spec import EncoderSpec
from .durable import Sink, entries, naming, publish, temporary
from .header import (
    FORMAT,
    HEADER_BYTES,
    Header,
    PartError,
    StoreError,
    check_index,
    check_twice,
    check_whole,
    checksum,
    header_block,
    index_checksum,
    read_header,
    store_error,
)

COPY_BYTES = 16 << 20
KEY = np.dtype("S32")
HALF_INFINITY = 0x7C00  # the bits of infinity in float16; those of a NaN are more
HEX = np.isin(np.arange(256), np.frombuffer(b"0123456789abcdef", np.uint8))


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


def part_files(folder: Path) -> list[Path]:
    """The parts in the folder of a store, oldest first."""
    return [path for path in entries(folder) if path.match("part-*.h5")]


def open_part(path: Path, spec: EncoderSpec) -> Part:
    """Check a part's header and layout and read its keys; StoreError if it is damaged or of another encoder."""

    def check() -> tuple[EncoderSpec, Part]:
        header = read_header(path)
        check_index(path, header)
        try:
            with _open(path) as file:
                written = EncoderSpec.from_json(str(file.attrs["spec"]))
                keys, has_tokens = _check_layout(file, header, written)
                seconds = float(file.attrs.get("seconds", math.nan))
        except PartError:
            raise
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise _fault(error) from error
        if seconds < 0 or math.isinf(seconds):
            raise PartError(f"its seconds are {seconds}")
        return written, Part(path, header.bytes, has_tokens, keys, seconds)

    written, part = check_twice(path, check)
    if written != spec:
        raise StoreError(
            f"{path}: written by encoder {written.name!r} {written.fingerprint}, wanted {spec.name!r} "
            f"{spec.fingerprint}; use another cache folder"
        )
    return part


def verify_part(path: Path) -> None:
    """Compare every byte of a part with its digest, once in this process; raise StoreError if one differs."""
    check_whole(path)


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise _fault(error) from error


def _fault(error: Exception) -> Exception:
    """An error of HDF5 or of what is stored as a PartError; one of the system, such as an absent file, as it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return PartError(f"not a readable part ({error})")


def _check_layout(file: h5py.File, header: Header, spec: EncoderSpec) -> tuple[NDArray[np.bytes_], bool]:
    """The keys (N,) and whether there are tokens. Raises PartError unless the file is as `_fill` writes it.

    HDF5 would otherwise follow links and storage into other files, or read what was never written as zeros.
    """
    rows, width, names = header.rows, spec.width, set(file)
    if names not in ({"keys", "pooled"}, {"keys", "pooled", "offsets", "tokens"}):
        raise PartError(f"holds {', '.join(sorted(names)) or 'nothing'}, wanted keys, pooled, and offsets with tokens")
    if file.userblock_size != HEADER_BYTES:
        raise PartError(f"a user block of {file.userblock_size} bytes, wanted {HEADER_BYTES}")
    stored = {name: _stored(file, name) for name in names}

    def require(name: str, dtype: Any, shape: tuple[int, ...], start: int, stop: int) -> None:
        data, at = stored[name], stored[name].id.get_offset()
        if (data.dtype, data.shape) != (np.dtype(dtype), shape):
            raise PartError(f"{name} is {data.dtype} {data.shape}, wanted {np.dtype(dtype)} {shape}")
        if data.nbytes and (at is None or at < start or at + data.nbytes > stop):
            raise PartError(f"{name} lies outside the bytes {start} to {stop}")

    require("keys", KEY, (rows,), HEADER_BYTES, header.data)
    require("pooled", np.float32, (rows, width), header.data, header.bytes)
    if stored["pooled"].id.get_offset() != header.data:
        raise PartError(f"its embeddings do not begin at byte {header.data}")
    keys: NDArray[np.bytes_] = stored["keys"][:]
    if not HEX[keys.view(np.uint8)].all():
        raise PartError("its keys are not of 32 hex digits")
    if "tokens" not in names:
        return keys, False
    require("offsets", np.int64, (rows + 1,), HEADER_BYTES, header.data)
    offsets = stored["offsets"][:]
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise PartError("its offsets do not rise from 0")
    require("tokens", spec.dtype, (int(offsets[-1]), width), header.data, header.bytes)
    return keys, True


def _stored(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose bytes lie in this file, in one piece. Raises PartError."""
    if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD or not isinstance(file[name], h5py.Dataset):
        raise PartError(f"{name} is a link or a group, wanted a dataset of this file")
    storage = file[name].id.get_create_plist()
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or storage.get_external_count():
        raise PartError(f"{name} is in chunks, virtual or in another file, wanted contiguous storage")
    return file[name]


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
            size, index = temp.stat().st_size, index_checksum(temp, data)
            header = Header(FORMAT, rows, size, data, index, checksum(temp))
            with temp.open("rb+") as whole:
                whole.write(header_block(header))
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
    with check_twice(part.path, lambda: _open(part.path)) as file:
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
            _require_finite(part, pooled, start)
            if offsets is None:
                yield numbers, EmbeddingBlock(part.keys[numbers], pooled)
                continue
            block = file["tokens"][offsets[start] : offsets[stop]]
            _require_finite(part, block, start)
            lengths = np.diff(offsets[start : stop + 1])
            if len(rows) < stop - start:
                block = block[np.repeat(wanted[start:stop], lengths)]
            kept = np.concatenate(([0], np.cumsum(lengths[rows]))).astype(np.int64)
            yield numbers, EmbeddingBlock(part.keys[numbers], pooled, block, kept)


def _require_finite(part: Part, numbers: NDArray[Any], start: int) -> None:
    if not all_finite(numbers):
        raise store_error(part.path, f"NaN or infinity in row {start} or one that follows")


def token_lengths(part: Part) -> NDArray[np.int64]:
    """Number of tokens of each row (N,) of a part that has them."""
    with check_twice(part.path, lambda: _open(part.path)) as file:
        lengths: NDArray[np.int64] = np.diff(file["offsets"][:])
        return lengths


def all_finite(numbers: NDArray[Any]) -> bool:
    """Whether none is NaN or infinity; halves by their bits, as numpy computes on them 20 times slower."""
    if numbers.dtype == np.float16:
        return bool((numbers.view(np.uint16) & 0x7FFF).max(initial=0) < HALF_INFINITY)
    return bool(np.isfinite(numbers).all())


def data_bytes(spec: EncoderSpec, rows: int, token_rows: float | None) -> int:
    """Bytes that rows take in a part, with `token_rows` tokens in all or none; HDF5 adds a few thousand per part."""
    pooled = rows * (KEY.itemsize + spec.width * np.dtype(np.float32).itemsize)
    if token_rows is None:
        return pooled
    return pooled + round(token_rows * spec.width * np.dtype(spec.dtype).itemsize) + rows * np.dtype(np.int64).itemsize
