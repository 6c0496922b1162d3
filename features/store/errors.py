"""`errors.jsonl`: the items of a store that could not be embedded, and why; one line per item, the newest run wins."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..regular_files import regular
from .durable import write_atomic
from .json_files import dump_json, load_json
from .locks import lock


@dataclass(frozen=True)
class BadRecord:
    """One item that could not be embedded. `key` is None where not even its bytes could be read."""

    id: str
    key: str | None
    file: str
    reason: str


def read_errors(folder: Path) -> list[BadRecord]:
    """All records of an encoder's folder; empty without a file. Raises ValueError."""
    path = folder / "errors.jsonl"
    if not os.path.lexists(path):  # a link that leads nowhere is there
        return []
    try:
        return [BadRecord(**load_json(line)) for line in regular(path).read_text("utf-8").splitlines()]
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); delete it and run `msa extract` again") from error


def update_errors(
    folder: Path, seen: Collection[str], bad: Sequence[BadRecord], posts: Collection[tuple[str, str]] = ()
) -> None:
    """Replace the records of the content keys and posts (id, file) that a run has seen by those it found bad.

    Nothing is written where nothing changes, so that a read-only cache works too.
    """

    def updated(old: Sequence[BadRecord]) -> list[BadRecord]:
        return [r for r in old if r.key not in seen and (r.id, r.file) not in posts] + list(bad)

    if updated(old := read_errors(folder)) == old:
        return
    with lock(folder / ".lock"):
        old = read_errors(folder)
        records = updated(old)
        if records != old:
            lines = (dump_json(asdict(record)) + "\n" for record in records)
            write_atomic(folder / "errors.jsonl", "".join(lines).encode())
