"""Chooses the device, the engine and the number of parallel batches."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Literal

from ..installation import install_line

EngineName = Literal["torch", "openvino"]

DEVICES = ("auto", "cpu", "cuda", "mps")
ENGINES = ("auto", "torch", "openvino")


@dataclass(frozen=True)
class Runtime:
    """Where and how a model runs; none of it may change the numbers.

    `streams` batches are computed in parallel. On a CPU each stream has one thread: streams never wait for each other,
    decoding costs only its own time, and the numbers do not depend on the number of cores.
    """

    device: str = "cpu"
    engine: EngineName = "torch"
    streams: int = 1
    compile: bool = False  # torch.compile, for the torch engine


def choose_runtime(device: str = "auto", engine: str = "auto", *, streams: int = 0, compile: bool = False) -> Runtime:
    """Resolve a user's choice on this machine; `streams` 0 means automatic.

    `auto` takes OpenVINO on a CPU where it is installed: it was faster for every model that was measured.
    Raises ValueError for a device or an engine that is not available.
    """
    if engine not in ENGINES:
        raise ValueError(f"runtime must be one of {', '.join(ENGINES)}; got {engine!r}")
    picked = pick_device(device)
    if engine == "openvino" and picked != "cpu":
        raise ValueError(f"runtime 'openvino' computes on the CPU, not on {picked!r}; add --device cpu")
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise ValueError(f"runtime 'openvino' needs openvino, which is missing: `{install_line('offline')}`")
    if compile and engine == "openvino":
        raise ValueError("--compile is for the torch runtime; leave it out or take --runtime torch")
    chosen: EngineName = "openvino" if picked == "cpu" and installed and engine != "torch" and not compile else "torch"
    automatic = {"cpu": available_cores(), "cuda": 2}.get(picked.partition(":")[0], 1)
    return Runtime(picked, chosen, streams or automatic, compile)


def pick_device(name: str) -> str:
    """Resolve 'auto' to the best device of this machine. Raises ValueError for a named one that is absent."""
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, or cuda:N; got {name!r}")
    if name == "cpu":
        return name
    import torch

    if colon:
        if int(number) >= (gpus := torch.cuda.device_count()):
            raise ValueError(f"device {name!r} is absent: torch {torch.__version__} sees {gpus} GPUs, from cuda:0 on")
        return name

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
