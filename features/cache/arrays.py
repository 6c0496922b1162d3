"""Memory-mapped arrays to be filled in place: npy files in a folder, or one safetensors file."""

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


def npy_arrays(
    folder: Path, shapes: Shapes, texts: Mapping[str, Sequence[str]], facts: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """Make a folder of `NAME.npy` to be filled, `NAME.txt` with one text per line, and `NAME.json` for each fact.

    Raises ValueError for a text that holds a line break.
    """
    lines = {name: _lines(name, values) for name, values in texts.items()}
    folder.mkdir()
    for name, content in lines.items():
        (folder / f"{name}.txt").write_bytes(content)
    for name, fact in facts.items():
        (folder / f"{name}.json").write_text(fact, encoding="utf-8")
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in shapes.items():
        path = folder / f"{name}.npy"
        arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, shape)
        _reserve(path)
    return arrays


def safetensors_arrays(
    path: Path, shapes: Shapes, texts: Mapping[str, Sequence[str]], facts: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """Make one safetensors file to be filled; texts are uint8 tensors of UTF-8, one per line, facts its metadata.

    The library's own writer needs every tensor in memory. Raises ValueError for a text that holds a line break.
    """
    lines = {name: np.frombuffer(_lines(name, values), np.uint8) for name, values in texts.items()}
    whole = shapes | {name: (content.dtype, content.shape) for name, content in lines.items()}
    whole = dict(sorted(whole.items(), key=lambda item: -item[1][0].itemsize))  # so that each is aligned
    header: dict[str, Any] = {"__metadata__": dict(facts)}
    starts, end = {}, 0
    for name, (dtype, shape) in whole.items():
        starts[name], end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": NAMES[dtype.name], "shape": list(shape), "data_offsets": [starts[name], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with path.open("rb+") as file:
        file.truncate(8 + len(text) + end)
    _reserve(path)
    arrays: dict[str, NDArray[Any]] = {
        name: np.memmap(path, dtype, "r+", 8 + len(text) + starts[name], shape)
        if all(shape)
        else np.empty(shape, dtype)
        for name, (dtype, shape) in whole.items()
    }
    for name, content in lines.items():
        arrays.pop(name)[:] = content
    return arrays


def _reserve(path: Path) -> None:
    """Give a file all its blocks, so that a full disk is an error here and not a signal while it is filled."""
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _lines(name: str, values: Sequence[str]) -> bytes:
    for value in values:
        if "\n" in value or "\r" in value:
            raise ValueError(f"{name} are written one per line, but {value!r} holds a line break; rename it")
    return "".join(f"{value}\n" for value in values).encode()
