"""Arrays as files that other programs read: npy files to be filled in place, and one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shapes = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
# safetensors' names of number formats
NAMES = {"float32": "F32", "float16": "F16", "int32": "I32", "int64": "I64", "uint8": "U8"}


def make_npy_files(folder: Path, shapes: Shapes) -> dict[str, NDArray[Any]]:
    """Make a folder with `NAME.npy` for each array, mapped to be filled."""
    folder.mkdir()
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in shapes.items():
        path = folder / f"{name}.npy"
        arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # so that a full disk is an error here and not a signal later
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return arrays


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write mapped arrays as one file; the library's own writer needs every tensor in memory."""
    ordered = sorted(arrays.items(), key=lambda pair: -pair[1].itemsize)  # so that each is aligned
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            file.write(array.data)


def text_lines(name: str, values: Sequence[str]) -> bytes:
    """UTF-8 text, one value per line. Raises ValueError for one that holds a line break."""
    for value in values:
        if "\n" in value or "\r" in value:
            raise ValueError(f"{name} are written one per line, but {value!r} holds a line break; rename it")
    return "".join(f"{value}\n" for value in values).encode()
