"""JSON notes beside the parts of a store, each with a format version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .durable import write_atomic

FORMAT = 1  # of notes and of fitted vectors; parts have their own


def check_format(found: object, wanted: object) -> None:
    """Raise ValueError unless a file has the format version that this msa reads."""
    if found != wanted:
        raise ValueError(f"format {found!r}, but this msa reads format {wanted!r}")


def dump_note(fields: Mapping[str, Any]) -> str:
    """One line of JSON with the format version."""
    return json.dumps({"format": FORMAT, **fields}, sort_keys=True, ensure_ascii=False)


def load_note(text: str) -> dict[str, Any]:
    """The fields of a note; one without a version has the first. Raises ValueError, for another format too."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"a JSON object is wanted; got {type(fields).__name__}")
    check_format(fields.pop("format", 1), FORMAT)
    return fields


def write_note(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a note, unless the file holds these fields already: a read-only cache must not be written to."""
    content = dump_note(fields)
    with suppress(OSError, ValueError):
        if load_note(path.read_text("utf-8")) == load_note(content):
            return
    write_atomic(path, content.encode())
