"""Objects for several processes at once: what is large in them lies in memory a single time."""

from __future__ import annotations

import mmap
import pickle
from pathlib import Path
from typing import Any


def write_shared(path: Path, value: Any) -> None:
    """Pickle into a file whose arrays `read_shared` reads in place."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    with path.open("wb") as file:
        pickle.dump((head, [part.nbytes for part in raw]), file)
        for part in raw:
            file.write(b"\0" * (-file.tell() % mmap.ALLOCATIONGRANULARITY))
            file.write(part)
        file.write(b"\0")  # so that no part ends with the file, not even an empty one


def read_shared(path: Path) -> Any:
    """What `write_shared` wrote. Its arrays lie in the file, in memory once for all who read it; copied if written."""
    with path.open("rb") as file:
        head, sizes = pickle.load(file)
        start = file.tell()
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    parts = []
    for size in sizes:
        start += -start % mmap.ALLOCATIONGRANULARITY
        parts.append(whole[start : start + size])
        start += size
    return pickle.loads(head, buffers=parts)
