"""Stored files: JSON objects with a format number, and folders that appear whole or not at all."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...features.store.durable import sync_folder, write_atomic

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


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to write to, renamed to `path` at the end; nothing is left of it after an error.

    `path` does not exist yet, or is an empty folder.
    """
    temp = path.parent / f".{path.name}-{secrets.token_hex(4)}.tmp"
    temp.mkdir(parents=True)
    try:
        yield temp
        if path.exists():
            path.rmdir()
        temp.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
