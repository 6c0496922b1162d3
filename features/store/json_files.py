"""JSON objects with a format version: the notes of a cache and the files of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .durable import write_atomic

FORMAT = 1  # of these files and of fitted vectors; parts have their own


def check_format(found: object, wanted: object) -> None:
    """Raise ValueError unless a file has the format version that this msa reads."""
    if found != wanted:
        raise ValueError(f"format {found!r}, but this msa reads format {wanted!r}")


def dump_json(fields: Mapping[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **fields}, sort_keys=True, ensure_ascii=False)


def load_json(text: str) -> dict[str, Any]:
    """The fields of an object; one without a version has the first. Raises ValueError, for another format too."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"a JSON object is wanted; got {type(fields).__name__}")
    check_format(fields.pop("format", 1), FORMAT)
    return fields


def read_json(path: Path, what: str, remedy: str, *, need: str = "format") -> dict[str, Any]:
    """The fields of a file, one of which it must have; ValueError, with `what` it should be and a `remedy`, if not."""
    try:
        fields = load_json(path.read_text("utf-8"))
        if need not in {"format", *fields}:
            raise ValueError(f"{need!r} is missing")
        return fields
    except ValueError as error:
        raise ValueError(f"{path}: not {what} ({error}); {remedy}") from error


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a file, unless it holds these fields already: a read-only cache must not be written to."""
    text = json.dumps({"format": FORMAT, **fields}, indent=2, ensure_ascii=False)
    with suppress(OSError, ValueError):
        if load_json(path.read_text("utf-8")) == load_json(text):
            return
    write_atomic(path, f"{text}\n".encode())
