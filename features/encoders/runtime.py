"""The machine at run time: which device computes, by which engine, and how many batches at once."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Literal

EngineName = Literal["torch", "openvino"]

DEVICES = ("auto", "cpu", "cuda", "mps")
ENGINES = ("auto", "torch", "openvino")


@dataclass(frozen=True)
class Runtime:
    """Where and how a model runs, none of which may change its numbers.

    `streams` batches are computed at once. On a CPU each stream has one thread: streams never wait for one another, so
    decoding beside them costs only its own time, and a number does not depend on how many cores there are.
    """

    device: str = "cpu"
    engine: EngineName = "torch"
    streams: int = 1
    compile: bool = False  # torch.compile, for the torch engine


def choose_runtime(device: str = "auto", engine: str = "auto", *, streams: int = 0, compile: bool = False) -> Runtime:
    """Resolve what was asked for on this machine; `streams` 0 takes what suits the device.

    `auto` takes OpenVINO on a CPU where it is installed: it was faster there for every model that was measured.
    Raises ValueError for a device or an engine that is not here.
    """
    if engine not in ENGINES:
        raise ValueError(f"runtime must be one of {', '.join(ENGINES)}; got {engine!r}")
    place = pick_device(device)
    if engine == "openvino" and place != "cpu":
        raise ValueError(f"runtime 'openvino' computes on the CPU, not on {place!r}; add --device cpu")
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise ValueError("runtime 'openvino' needs openvino, which is missing: pip install 'msa-pipeline[offline]'")
    if compile and engine == "openvino":
        raise ValueError("--compile is for the torch runtime; leave it out or take --runtime torch")
    chosen: EngineName = "openvino" if place == "cpu" and installed and engine != "torch" and not compile else "torch"
    suits = {"cpu": available_cores(), "cuda": 2}.get(place.partition(":")[0], 1)
    return Runtime(place, chosen, streams or suits, compile)


def pick_device(name: str) -> str:
    """Resolve 'auto' to the best device here; raise ValueError for one that is named but absent.

    Where there are several GPUs, `cuda:1` is the second of them.
    """
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, or cuda:N; got {name!r}")
    if name == "cpu":
        return name
    import torch

    if colon:
        if int(number) >= (gpus := torch.cuda.device_count()):
            raise ValueError(f"device {name!r} is not here: torch {torch.__version__} sees {gpus} GPUs, from cuda:0 on")
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
