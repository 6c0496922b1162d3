"""The files of a data folder: found by name or by stem, each directory listed once, never outside the folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from .samples import Problem, Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TEXT_SUFFIXES = (".txt",)


def inside(name: str) -> PurePosixPath:
    """Return `name` as a relative path; raise ValueError when it is empty or leaves the folder.

    Any `..` is refused, also one that seems to come back: behind a symbolic link it would not.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(name).drive:
        raise ValueError(f"{name!r} is an absolute path; write it relative to the data folder")
    if ".." in path.parts:
        raise ValueError(f"{name!r} leaves the data folder; move the file into it")
    if not path.name:
        raise ValueError(f"{name!r} names no file")
    return path


@dataclass(frozen=True)
class Listing:
    """The files of one directory: by exact name, and by (stem, lower-case suffix), best spelling first."""

    names: frozenset[str]
    stems: dict[tuple[str, str], list[str]]


class Folder:
    """Looks files up below `root`; names are checked by `inside`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, Listing] = {}

    def find(self, name: str) -> Path | None:
        """The file called `name`, else the one that differs only in the case of its extension, else None."""
        path = inside(name)
        listing = self._listing(str(path.parent))
        if path.name in listing.names:
            return self.root / path
        spelled = listing.stems.get((path.stem, path.suffix.lower()))
        return self.root / path.parent / spelled[0] if spelled else None

    def candidates(self, stem: str, suffixes: tuple[str, ...]) -> list[Path]:
        """All files `stem` + one of `suffixes` in any case, in the order of `suffixes`; `stem` may hold folders."""
        path = inside(stem)
        stems = self._listing(str(path.parent)).stems
        return [self.root / path.parent / name for s in suffixes for name in stems.get((path.name, s), ())]

    def stems(self) -> set[str]:
        """The stems of all images and texts that lie directly in the folder."""
        known = IMAGE_SUFFIXES + TEXT_SUFFIXES
        return {stem for stem, suffix in self._listing(".").stems if suffix in known}

    def _listing(self, directory: str) -> Listing:
        if directory not in self._listings:
            stems: dict[tuple[str, str], list[str]] = {}
            try:
                with os.scandir(self.root / directory) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_file())
            except (OSError, ValueError):  # absent, not a folder, or a NUL in its name
                names = []
            for name in names:
                path = PurePosixPath(name)
                stems.setdefault((path.stem, path.suffix.lower()), []).append(name)
            self._listings[directory] = Listing(frozenset(names), stems)
        return self._listings[directory]


@dataclass
class PostCollector:
    """What a reader has gathered so far. A repeated id is reported and the first one kept."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)

    def report(self, file: str, line: int | None, reason: str) -> None:
        self.problems.append(Problem(file, line, reason))

    def claim(self, id: str, file: str, line: int) -> bool:
        """Take an id for one post; report it and return False when it is taken already."""
        if id in self._seen:
            self.report(file, line, f"id {id!r} stands already in {self._seen[id]}; the first one is kept")
            return False
        self._seen[id] = f"{file}:{line}"
        return True

    def add(self, sample: Sample, file: str, line: int) -> None:
        """Append a post whose id was claimed."""
        if sample.image is None and sample.text is None:
            self.report(file, line, f"post {sample.id!r} has neither image nor text")
        self.samples.append(sample)

    def pick(self, found: list[Path], id: str, file: str, line: int) -> Path | None:
        """The first of the files found for an id; more than one is reported."""
        if len(found) > 1:
            others = ", ".join(path.name for path in found[1:])
            self.report(file, line, f"post {id!r} has several files: {found[0].name} is used, not {others}")
        return found[0] if found else None
