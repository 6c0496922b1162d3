"""A command in a process of its own: its time, and the most memory that it took of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLE_SECONDS = 0.02


class Measured(NamedTuple):
    """What a command printed, the seconds that it took, and the most memory of its own that it had, in GB."""

    output: str
    seconds: float
    peak: float


def measure(command: Sequence[str], *, limit: float | None = None) -> Measured:
    """Run a command of Python under a limit of `limit` GB that the kernel enforces; end the benchmark if it fails.

    The limit is RLIMIT_DATA: heap and private mappings, all that a process takes of its own. Pages of mapped files are
    not in it, since the kernel drops them when others need the memory; `ulimit -v` would count the whole files. The
    peak is the largest RssAnon of /proc/PID/status, sampled.
    """

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9), int(limit * 1e9)))

    started, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen([sys.executable, *command], stdout=printed, stderr=errors, preexec_fn=limited)
        while child.poll() is None:
            peak = max(peak, _own_kilobytes(child.pid))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - started
        printed.seek(0)
        errors.seek(0)
        if child.returncode:
            sys.exit(f"{' '.join(command)} ended with {child.returncode}: {errors.read()[-2000:]}")
        return Measured(printed.read(), seconds, peak / 1e6)


def _own_kilobytes(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    except OSError:  # it has ended
        pass
    return 0
