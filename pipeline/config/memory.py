"""Sizes of memory: as they are written, and how much of it is free."""

from __future__ import annotations

import re
from pathlib import Path

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
CGROUPS = Path("/sys/fs/cgroup")
SHARE = 0.5  # of the free memory that features may take by default


def read_size(text: str) -> int:
    """`4GB`, `500 MB` or `1e9` in bytes. Raises ValueError for anything else, and for less than a byte."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    size = int(float(found[1]) * UNITS[found[2]]) if found else 0
    if size < 1:
        raise ValueError(f"memory must be a size, as 4GB or 500MB; got {text!r}")
    return size


def usable_memory(text: str) -> int:
    """The bytes that `text` names; if it is empty, half of what is free now."""
    return read_size(text) if text else int(SHARE * free_memory())


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of the control group of its container or job."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_in_groups()])


def _left_in_groups() -> list[int]:
    """What each control group (version 2) around this process has left; none elsewhere than on Linux."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
    except OSError:
        return []
    left = []
    for folder in (CGROUPS / own, *(CGROUPS / own).parents):
        try:
            most, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
            cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())["inactive_file"]
        except (OSError, KeyError):
            continue
        if most != "max":
            left.append(max(0, int(most) - int(used) + int(cached)))
    return left
