"""The machine at run time: which device computes, and on how many threads."""

from __future__ import annotations

import os

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> str:
    """Resolve 'auto' to the best device here; raise ValueError for one that is named but absent."""
    if name not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}; got {name!r}")
    if name == "cpu":
        return name
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, available in here.items() if available)
    if not here[name]:
        raise ValueError(f"device {name!r} is not available to torch {torch.__version__} here; use --device cpu")
    return name


def available_cores() -> int:
    """Cores this process may use: its affinity mask where the system has one, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
