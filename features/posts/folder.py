"""Finds the files of posts by the names in tables and label files, never outside the folders that the user named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from .directory import IMAGE_SUFFIXES, KNOWN_SUFFIXES, TEXT_SUFFIXES, Directory, absolute, list_directory

SUGGESTIONS = 10  # names for which similar ones are searched, as comparing with every file is slow
COMMON_SUFFIXES = IMAGE_SUFFIXES[:4]  # that are tried for names without one
NEIGHBOURS = 1000  # folders that are searched for a missing image, to suggest --images


class Opened(NamedTuple):
    """The directory that a path leads to: whether from another root than the first, or under another spelling."""

    directory: Directory
    other_root: bool
    respelled: bool


class Folder:
    """Looks up files below `roots`, listing each directory once.

    A path counts from the first root that has its directory. Where no file has exactly the name, the only one that
    differs in its suffix, case, Unicode form or a decimal `.0` is found, and kept in `respelled`. With `foreign`, of an
    absolute path that leads elsewhere, as on another computer, the longest end counts that leads to a file.
    """

    def __init__(self, *roots: Path, foreign: bool = False) -> None:
        self.roots = roots
        self.foreign = foreign
        self.by_their_end: set[str] = set()  # names of files found by the end of their path
        self.respelled: dict[str, str] = {}  # name -> that of the file
        self.from_other_root: set[str] = set()  # names of files found from another root than the first
        self.lost: list[str] = []  # names of images that a reader did not find
        self._bounds = {Path(form(root)) for root in roots for form in (absolute, os.path.realpath)}
        self._listed: dict[Path, Directory | None] = {}
        self._opened: dict[str, Opened | None] = {}
        self._suggested = 0

    def find(self, name: str) -> Path | None:
        """The file of a path, or None. Raises ValueError for a path that leaves the roots, OSError as listing does."""
        if self.foreign and not self._holds(Path(name)):
            for end in _ends(name):
                if found := self._find(end):
                    self.by_their_end.add(name)
                    return found
        return self._find(name)

    def _find(self, name: str) -> Path | None:
        opened, file = self._open(name)
        found = opened.directory.find(file) if opened else None
        if opened is None or found is None:
            return None
        path = opened.directory.path / found
        if opened.respelled or found != file:
            self.respelled[name] = found if found != file else path.as_posix()
        if opened.other_root:
            self.from_other_root.add(name)
        return path

    def candidates(self, stem: str, suffixes: tuple[str, ...]) -> list[Path]:
        """All files `stem` + one of `suffixes` in any case, in the order of `suffixes`; `stem` may hold folders.

        Raises ValueError and OSError as `find` does.
        """
        opened, last = self._open(stem)
        if opened is None:
            return []
        names = [name for suffix in suffixes for name in opened.directory.files.get((last, suffix), ())]
        if not names and len(alike := opened.directory.alike(last, suffixes)) == 1:
            names, self.respelled[stem] = alike, alike[0]
        return [opened.directory.path / name for name in names]

    def near(self, name: str) -> str:
        """'; did you mean x or y?' for a path that leads to no file; empty where none is like it."""
        opened, file = self._open(name)
        if opened is None:
            return ""
        near = opened.directory.alike(file, IMAGE_SUFFIXES + TEXT_SUFFIXES)
        if not near and self._suggested < SUGGESTIONS:
            self._suggested += 1
            stems = {stem: names[0] for (stem, _), names in opened.directory.files.items()}
            asked = PurePosixPath(file).stem
            near = [own for stem, own in stems.items() if stem.lstrip("0") == asked.lstrip("0")]
            near = near or [stems[stem] for stem in get_close_matches(asked, stems, cutoff=0.8)]
        above = name[: len(name) - len(file)]
        return f"; did you mean {' or '.join(repr(above + own) for own in near[:3])}?" if near else ""

    def stems(self) -> set[str]:
        """The stems of all images and texts that lie directly in the first root."""
        listed = self._list(self.roots[0])
        return {stem for stem, suffix in listed.files if suffix in KNOWN_SUFFIXES} if listed else set()

    def images(self) -> list[Path]:
        """All images that lie directly in the first root."""
        listed = self._list(self.roots[0])
        names = [names for (_, suffix), names in listed.files.items() if suffix in IMAGE_SUFFIXES] if listed else []
        return [self.roots[0] / name for same in names for name in same]

    def _open(self, name: str) -> tuple[Opened | None, str]:
        """The directory of a path, None where there is none, and the name of its file."""
        above, slash, file = name.replace("\\", "/").rpartition("/")
        if file in {"", ".", ".."}:
            raise ValueError(f"{name!r} names no file")
        if re.match(r"\w+://", name):
            raise ValueError(f"{name!r} is a link; download the file, and give its path")
        if PureWindowsPath(name).drive and os.name != "nt":
            raise ValueError(f"{name!r} is an absolute path of Windows; write it relative to the table")
        if above + slash not in self._opened:
            self._opened[above + slash] = self._open_first(PurePosixPath(above + slash), name)
        return self._opened[above + slash], file

    def _open_first(self, path: PurePosixPath, name: str) -> Opened | None:
        """The first directory that a path leads to. A `..` counts only at its beginning, and not over links."""
        climbs = _climbs(path)
        places = [Path(os.path.normpath(root / path)) if climbs else root / path for root in self.roots]
        places = [place for place in places if self._holds(place)]
        if not places or ".." in path.parts[climbs:]:
            raise ValueError(f"{name!r} leads out of {' and '.join(map(str, self.roots))}")
        for place in places:
            if (directory := self._list(place)) is not None:
                return Opened(directory, place != places[0], directory.path != place)
        return None

    def _list(self, path: Path) -> Directory | None:
        """The directory at a path below a root, else the only one there of another spelling, else None."""
        if directory := self._list_exactly(path):
            return directory
        root = next((root for root in self.roots if path.is_relative_to(root)), None)
        if root is None:
            return None
        directory = self._list_exactly(root)
        for part in path.relative_to(root).parts:
            alike = directory.folders_alike(part) if directory else []
            if directory is None or (part not in alike and len(alike) != 1):
                return None
            directory = self._list_exactly(directory.path / (part if part in alike else alike[0]))
        return directory

    def _list_exactly(self, path: Path) -> Directory | None:
        if path not in self._listed:
            self._listed[path] = list_directory(path)
        return self._listed[path]

    def _holds(self, path: Path) -> bool:
        place = absolute(path)
        return any(place.is_relative_to(bound) for bound in self._bounds)


def find_elsewhere(name: str, root: Path) -> Path | None:
    """The folder near `root` that `--images` must name for a file that `name` does not lead to; None if not found."""
    path = PurePosixPath(name.replace("\\", "/"))
    climbs = _climbs(path)
    above = absolute(root)
    suffixes = ("",) if path.suffix.lower() in IMAGE_SUFFIXES else ("", *COMMON_SUFFIXES)
    folders = (above, *above.parents[:2], *_folders(above), *_folders(above.parent))
    for folder in folders:
        with suppress(OSError):
            place = os.path.normpath(folder / path)
            if not any(Path(place + suffix).is_file() for suffix in suffixes):
                continue
            if path.is_absolute():
                return Path(path.parent)
            first = path.parts[climbs : climbs + 1] if 0 < climbs < len(path.parts) - 1 else ()
            return Path(os.path.normpath(folder.joinpath(*path.parts[:climbs], *first)))
    for end in _ends(name):
        for folder in folders:
            with suppress(OSError):
                if any((folder / (end + suffix)).is_file() for suffix in suffixes):
                    return folder
    return None


def find_by_id(id: str, root: Path, images: Path | None) -> Path | None:
    """The folder at or below `root`, or `images`, that has an image of this name; None if not found."""
    for place in (images,) if images else (root, *_folders(absolute(root))):
        with suppress(OSError, ValueError):
            if any((place / f"{id}{suffix}").is_file() for suffix in COMMON_SUFFIXES):
                return place
    return None


def _ends(name: str) -> list[str]:
    """The ends of an absolute path, of any system, from the longest to the name of the file; none of another path."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", "."}]
    is_absolute = name.startswith(("/", "\\")) or PureWindowsPath(name).drive
    if not is_absolute or ".." in parts:
        return []
    return ["/".join(parts[start:]) for start in range(bool(PureWindowsPath(name).drive), len(parts))]


def _climbs(path: PurePosixPath) -> int:
    """How many `..` it begins with."""
    return len(list(takewhile("..".__eq__, path.parts)))


def _folders(path: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from islice((entry for entry in sorted(path.iterdir()) if entry.is_dir()), NEIGHBOURS)
