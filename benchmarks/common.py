"""Shared by all benchmarks: options, the name of the machine, and the check of the ratio against its target."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mvsa"


def options(description: str | None) -> argparse.Namespace:
    """Parse --data and --cache; stop with a reason if there is no data."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="folder of cached embeddings")
    given = parser.parse_args()
    if not given.data.exists():
        sys.exit(f"no data at {given.data}; give --data")
    return given


def machine() -> str:
    """Processor, cores that this process may use, Python and torch."""
    import torch

    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, Python {platform.python_version()}, torch {torch.__version__}"


def check_target(name: str, ratio: float, target: float) -> None:
    """Print the ratio last; exit with 1 if it is below the target."""
    print(f"machine: {machine()}")
    print(f"{name}: {ratio:.3f} (target {target:g})")
    sys.exit(0 if ratio >= target else 1)
