"""Where features lie: in memory, or in mapped files of the cache where they would take too much of it."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...features.encoders.runtime import available_cores
from ...features.store.durable import make_folder, new_folder, writing
from ...features.store.joined import JOINED
from ...features.store.locks import flush, lock

COPY_BYTES = 16 << 20
BUFFERS = 4  # for each core, in the memory: one that is trained on, one that is read ahead, and room to work
New = Callable[[str, tuple[int, ...], DTypeLike], NDArray[Any]]


@dataclass(frozen=True)
class Storage:
    """Makes arrays in memory; with a `cache`, in files there, which are mapped and of which pages are read when needed.

    `memory` is what features may take, in bytes. It bounds what is copied out of mapped arrays; the pages themselves
    are the system's, which drops them when it needs their memory.
    """

    cache: Path | None = None
    memory: int = 0

    @property
    def mapped(self) -> bool:
        """Whether features are read from files instead of memory."""
        return self.cache is not None

    @property
    def buffer(self) -> int:
        """Bytes of features that each thread reads at once; 0: all are in memory."""
        return max(1, self.memory // (BUFFERS * available_cores())) if self.mapped else 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A new array; a mapped one goes with the last reference to it, and with the process."""
        if self.cache is None or not prod(shape):
            return np.empty(shape, dtype)
        make_folder(self.cache / JOINED)
        with writing(self.cache), tempfile.TemporaryFile(dir=self.cache / JOINED) as file:
            _reserve(file.fileno(), prod(shape) * np.dtype(dtype).itemsize)
            return np.memmap(file, dtype, "r+", shape=shape)

    def rows(self, count: int, width: int, make: Callable[[slice], NDArray[Any]]) -> NDArray[np.float32]:
        """An array (count, width) of which `make` computes any rows; all at once where it is in memory."""
        if not self.mapped:
            return make(slice(None))
        made, step = self.empty((count, width), np.float32), max(1, COPY_BYTES // (4 * width))
        for start in range(0, count, step):
            some = slice(start, min(start + step, count))
            made[some] = make(some)
        return made

    def build(self, name: str, fill: Callable[[New], None]) -> dict[str, NDArray[Any]]:
        """The arrays that `fill` makes by its argument and fills: new(name, shape, dtype) is an array of zeros.

        Mapped ones stay in the cache under `name`, which must say what they hold, and are found there the next time.
        """
        if self.cache is None:
            made: dict[str, NDArray[Any]] = {}

            def new(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
                made[name] = np.zeros(shape, dtype)
                return made[name]

            fill(new)
            return made
        folder = self.cache / JOINED / name
        make_folder(folder.parent)
        with writing(folder.parent), lock(folder.parent / ".lock"):  # another process may join the same
            if not folder.exists():
                with new_folder(folder) as temp:
                    _fill_files(temp, fill)
        import torch

        with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch says once that it is not writable
            found = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
            for array in found.values():
                torch.from_numpy(array)
        return found


def _fill_files(folder: Path, fill: Callable[[New], None]) -> None:
    """Let `fill` make arrays as files of a folder, and flush them to the disk."""
    made: dict[Path, np.memmap[Any, Any]] = {}

    def new(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        path = folder / f"{name}.npy"
        made[path] = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        with path.open("rb+") as file:
            _reserve(file.fileno(), path.stat().st_size)
        return made[path]

    fill(new)
    for path, array in made.items():
        array.flush()
        with path.open("rb+") as file:
            flush(file.fileno(), folder)


def _reserve(handle: int, size: int) -> None:
    """Take the disk space of a file now: a page that finds none later would end the process."""
    with suppress(AttributeError):  # not on macOS and Windows
        os.posix_fallocate(handle, 0, size)
        return
    os.ftruncate(handle, size)
