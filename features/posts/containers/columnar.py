"""Reads Parquet and Arrow files in batches, only the columns that are asked for; images are read when they are needed.

pyarrow reads both; of a Parquet file no more than a few batches are in memory, an Arrow file is mapped.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...blob import Blob
from ...messages import first_line
from ...spec import BadItem

ROWS = 1024  # of a batch of texts and labels
IMAGES = 32  # of a batch of images: some megabytes
BUFFER = 1 << 20  # bytes of a column chunk that are read at a time
RECENT = 4  # batches of images that are kept, as threads read not quite in order
OPEN = 64  # files that stay open
BYTES = "bytes"  # of an image as `datasets` stores it: a struct of bytes and path


class Columnar:
    """An open file. Thread-safe. Raises ValueError where it is damaged."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.file = file
        self.lock = Lock()
        self.recent: dict[str, deque[tuple[int, Any]]] = {}  # column -> first row and values of a batch
        self.following: dict[str, Iterator[tuple[int, Any]]] = {}  # the batches that come after those
        self.next_row: dict[str, int] = {}
        try:
            if file.suffix.lower() == ".arrow":
                self.parquet, self.mapped = None, _map(pa, file)
                self.schema, rows, self.starts = self.mapped.schema, self.mapped.num_rows, [0]
            else:
                self.parquet = parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
                groups = [self.parquet.metadata.row_group(n).num_rows for n in range(self.parquet.num_row_groups)]
                self.schema, rows = self.parquet.schema_arrow, sum(groups)
                self.starts = [0, *np.cumsum(groups[:-1]).tolist()]  # the first row of each row group
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, error) from error
        self.rows = int(rows)

    @cached_property
    def images(self) -> set[str]:
        """The columns of binary values, of structs with bytes, and of lists of these."""
        return {field.name for field in self.schema if _holds_bytes(_element(field.type))}

    @cached_property
    def class_names(self) -> dict[str, Sequence[str]]:
        """Column -> names of its numbers, as `datasets` keeps them in the metadata."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            named = {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
        except (KeyError, ValueError, TypeError, AttributeError):
            return {}
        return {name: names for name, names in named.items() if isinstance(names, list)}

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """Batch by batch, rows and the values of columns: of those that hold images, the paths, if they have any."""
        import pyarrow as pa

        paths = {name: f"{name}.path" for name in columns if name in self.images}
        try:
            if self.parquet is None:
                for batch in self.mapped.select(list(columns)).to_batches(max_chunksize=ROWS):
                    found = {name: batch[name] for name in columns}
                    yield batch.num_rows, {name: _values(one, name in paths) for name, one in found.items()}
                return
            wanted = [paths.get(name, name) for name in columns if name not in paths or self._has_path(name)]
            for batch in self.parquet.iter_batches(ROWS, columns=wanted):
                found = {name: batch[name] for name in columns if name in batch.schema.names}
                yield batch.num_rows, {name: _values(one, name in paths) for name, one in found.items()}
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(self.file, error) from error

    def count_images(self, column: str) -> NDArray[np.int32]:
        """The images in each cell (N,): 0 or 1, of a list its length. Read only where the statistics do not tell."""
        if self.parquet is None:
            return np.concatenate([np.zeros(0, np.int32), *map(_count, self.mapped[column].chunks)])
        counts = []
        listed = _is_list(self.schema.field(column).type)
        for group in range(self.parquet.num_row_groups):
            rows = self.parquet.metadata.row_group(group).num_rows
            nulls = None if listed else self._nulls(column, group)
            if nulls in (0, rows):
                counts.append(np.full(rows, nulls == 0, np.int32))
            else:
                counts += [_count(values) for _, values in self._stream(column, group, one_group=True)]
        return np.concatenate([np.zeros(0, np.int32), *counts])

    def read(self, column: str, row: int, number: int = 0) -> bytes | None:
        """The image in a cell, of a list that of this number; None where there is none. Fast for rows in order."""
        if self.parquet is None:
            return _image(self.mapped[column][row], number)
        with self.lock:
            recent = self.recent.setdefault(column, deque(maxlen=RECENT))
            while not any(start <= row < start + len(values) for start, values in recent):
                at = self.next_row.get(column, -1)
                if not recent or row < at or self._group(row) > self._group(at):
                    recent.clear()
                    self.following[column] = self._stream(column, self._group(row))
                start, values = next(self.following[column])
                recent.append((start, values))
                self.next_row[column] = min(start + len(values), self.rows - 1)
            start, values = next(one for one in recent if one[0] <= row < one[0] + len(one[1]))
            return _image(values[row - start], number)

    def _stream(self, column: str, group: int, *, one_group: bool = False) -> Iterator[tuple[int, Any]]:
        """First row and values of each batch of images from a row group on."""
        import pyarrow as pa

        assert self.parquet is not None
        start = self.starts[group]
        groups = range(group, group + 1 if one_group else self.parquet.num_row_groups)
        try:
            for batch in self.parquet.iter_batches(IMAGES, row_groups=list(groups), columns=[column]):
                yield start, batch.column(0)
                start += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.file, error) from error

    def _group(self, row: int) -> int:
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def _has_path(self, column: str) -> bool:
        kind = self.schema.field(column).type
        return _is_struct(kind) and kind.get_field_index("path") >= 0

    def _nulls(self, column: str, group: int) -> int | None:
        """The number of cells without bytes in a row group; None where the file does not tell."""
        assert self.parquet is not None
        found = self.parquet.metadata.row_group(group)
        for number in range(found.num_columns):
            leaf = found.column(number)
            if leaf.path_in_schema in (column, f"{column}.{BYTES}"):
                return leaf.statistics.null_count if leaf.statistics and leaf.statistics.has_null_count else None
        return None


@dataclass(frozen=True, slots=True)
class Cell(Blob):
    """The image in a row, counted from 0, of a Parquet or Arrow file; of a list that of this number, from 0."""

    table: Path
    column: str
    row: int
    number: int = 0

    @property
    def name(self) -> str:
        return f"{self.table.name}:{self.row + 1}" + f" image {self.number + 1}" * bool(self.number)

    @property
    def file(self) -> Path:
        return self.table

    @property
    def place(self) -> str:
        return f"{self.column}:{self.row}" + f":{self.number}" * bool(self.number)

    def read(self, limit: int) -> bytes:
        from pyarrow import ArrowException

        try:
            found = open_columnar(self.table).read(self.column, self.row, self.number)
        except (ArrowException, OSError, ValueError, LookupError, StopIteration) as error:
            raise BadItem(f"unreadable: {first_line(error)}") from error
        if found is None:
            which = f"image {self.number + 1}" if self.number else "image"
            raise BadItem(f"unreadable: there is no {which} in row {self.row + 1}")
        return found


def open_columnar(file: Path) -> Columnar:
    """The file, kept open as long as it does not change. Raises ValueError where it is damaged."""
    try:
        state = file.stat()
    except OSError as error:
        raise damaged(file, error) from error
    return _open(file, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(OPEN)
def _open(file: Path, *state: int) -> Columnar:
    return Columnar(file)


def damaged(file: Path, error: Exception) -> ValueError:
    """The error for a file that cannot be read."""
    return ValueError(f"cannot read {file}: {first_line(error)}; write the file again")


def _map(pa: Any, file: Path) -> Any:
    source = pa.memory_map(str(file))
    try:
        table = pa.ipc.open_stream(source).read_all()  # as `datasets` writes it
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(source).read_all()
    table.validate(full=True)  # else damaged offsets would lead outside of the file
    return table


def _element(kind: Any) -> Any:
    """The type itself, or of a list that of its elements."""
    return kind.value_type if _is_list(kind) else kind


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind))


def _is_struct(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind))


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if _is_struct(kind):
        kind = kind.field(BYTES).type if kind.get_field_index(BYTES) >= 0 else None
        if kind is not None and types.is_null(kind):
            return True
    return kind is not None and bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _values(values: Any, images: bool) -> list[Any]:
    """The values of an array; of images their paths, None of those that have none."""
    from pyarrow import compute

    if not images:
        return list(values.to_pylist())
    if not _is_struct(values.type) or values.type.get_field_index("path") < 0:
        return [None] * len(values)
    return [path if isinstance(path, str) else None for path in compute.struct_field(values, "path").to_pylist()]


def _count(values: Any) -> NDArray[np.int32]:
    """The images in each cell (N,) of an array."""
    from pyarrow import compute

    if _is_list(values.type):
        counts = compute.fill_null(compute.list_value_length(values), 0)
    else:
        images = compute.struct_field(values, BYTES) if _is_struct(values.type) else values
        counts = compute.is_valid(images)
    return np.asarray(counts.to_numpy(zero_copy_only=False), np.int32)


def _image(cell: Any, number: int) -> bytes | None:
    if _is_list(cell.type):
        cell = cell.values[number] if cell.is_valid and number < len(cell.values) else None
    value = None if cell is None else cell.as_py()
    value = value.get(BYTES) if isinstance(value, dict) else value
    return value if isinstance(value, bytes) else None
