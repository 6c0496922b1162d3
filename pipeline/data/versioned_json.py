"""Stored JSON objects with a format number, so that a reader refuses a file of another version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...features.store.durable import write_atomic

FORMAT = 1


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object and its format number. The file appears whole or not at all."""
    text = json.dumps({"format": FORMAT, **content}, indent=2, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode())


def read_json(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """What `write_json` wrote. Raises ValueError, naming `what` it should be and the `remedy`, for any other file."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = f"format {stored.get('format')!r}"
    except (AttributeError, ValueError) as error:
        stored, found = {}, repr(error)
    if stored.get("format") != FORMAT:
        raise ValueError(f"{path}: not {what} of format {FORMAT} ({found}); {remedy}")
    return stored
