"""A log file: a line with the time for each note, epoch and result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ...features.messages import printable
from ...features.store.durable import make_folder
from .events import Event, Folder, Note, Point


class LogFile:
    """Appends to a file. Raises ValueError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            make_folder(path.absolute().parent)
            self.file = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ValueError(f"--log-file {path}: {error.strerror}; give another file") from error

    @property
    def where(self) -> str:
        return f"--log-file {self.path}"

    def write(self, events: Sequence[Event]) -> None:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        for event in events:
            self.file.write(f"{now} {printable(' '.join(_text(event).split()))}\n")
        self.file.flush()

    def close(self, failed: bool) -> None:
        self.file.close()


def _text(event: Event) -> str:
    if isinstance(event, Note):
        return event.text
    if isinstance(event, Folder):
        return f"written: {event.path}"
    if isinstance(event, Point):
        return f"{event.series}, epoch {event.step}: {_listed(event.values)}"
    settings = _listed(event.settings) if event.settings else "no settings"
    return f"{event.name or 'result'}: {_listed(event.metrics)} ({settings})"


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
