"""Folders as text: one JSON object of each, from relative path to the file, compressed and in base64."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

REMADE = {".html", ".lock"}  # pages are drawn again from the other files


def pack(folder: Path, file: Path) -> None:
    """Write every file below `folder` to `file`, but for those that are made again."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not {path.suffix, path.name} & REMADE)
    packed = {
        path.relative_to(folder).as_posix(): base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode()
        for path in paths
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(packed, indent=1) + "\n", encoding="utf-8")


def unpack(file: Path, folder: Path) -> None:
    """The files of `pack`, below `folder`."""
    for name, content in json.loads(file.read_text(encoding="utf-8")).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zlib.decompress(base64.b64decode(content)))
