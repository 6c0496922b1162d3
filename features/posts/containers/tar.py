"""Reads tar files without unpacking them: lists their members once, and reads each where it lies."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...blob import Blob
from ...messages import first_line
from ...spec import BadItem


@dataclass(frozen=True, slots=True)
class Member(Blob):
    """A regular file inside a tar file: where its bytes begin, and how many they are."""

    archive: Path
    path: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.archive.name}/{self.path}"

    @property
    def file(self) -> Path:
        return self.archive

    @property
    def place(self) -> str:
        return f"{self.offset}:{self.size}"

    def read(self, limit: int) -> bytes:
        size = min(self.size, limit + 1)
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                content = file.read(size)
        except (OSError, OverflowError) as error:
            raise BadItem(f"unreadable: {first_line(error)}") from error
        if len(content) < size:
            raise BadItem(f"unreadable: {self.archive.name} ends inside it; copy the tar file again")
        return content


def list_members(file: Path) -> Iterator[Member | str]:
    """The regular files of a tar file, in its order; a text for what is none, or where the tar file breaks off.

    Raises ValueError where it is no tar file, or a compressed one, in which no member can be found again.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            while (found := _next(archive)) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps them all
                if isinstance(found, str):
                    yield found
                    return
                if found.isreg() and not found.issparse():
                    yield Member(file, found.name, found.offset_data, found.size)
                elif not found.isdir():
                    yield f"{found.name!r} is a link or a device, which is not read"
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(
            f"cannot read {file}: {first_line(error)}; a shard is a tar file that is not compressed"
        ) from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | str | None:
    try:
        return archive.next()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        return f"it breaks off ({first_line(error)}); copy the tar file again"
