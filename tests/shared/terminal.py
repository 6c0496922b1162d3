"""Commands run on a pseudo-terminal of a given width, and what a person sees there."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NEW_PICTURE = re.compile(r"\r|\x1b\[\d*A")


class Shown(NamedTuple):
    """The exit code, and everything that was written to the terminal, with its control sequences."""

    code: int
    raw: str

    @property
    def lines(self) -> list[str]:
        """Every line of every picture, without control sequences."""
        return [CODES.sub("", one) for line in self.raw.split("\n") for one in NEW_PICTURE.split(line)]


def run_on_terminal(arguments: Sequence[str], folder: Path, *, columns: int = 80) -> Shown:
    """Run `msa` with its output and its errors on a terminal so wide."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    unset = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {
        "TERM": "xterm-256color",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-m", "msa.cli", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # the other end is closed
            while some := os.read(ours, 1 << 16):
                written += some
        os.close(ours)
    return Shown(process.returncode, written.decode("utf-8", "replace"))
