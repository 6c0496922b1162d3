"""Collects the posts that a reader finds, and says of every line and file what was not used."""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..blob import Blob
from .cells import SEVERAL_IMAGES, split_images
from .directory import absolute
from .folder import Folder, find_elsewhere
from .remote.link import Link, is_link, make_link
from .remote.settings import Remote
from .samples import MOST_IMAGES, Problem, Sample
from .text import read_lines


@dataclass
class PostCollector:
    """The posts, problems and notes of a reader. `images` is the folder that the user named for them, if any.

    `remote` is how images that are links are fetched.

    A repeated id is reported; the first is kept.
    """

    images: Path | None = None
    remote: Remote = Remote()
    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)
    _hosts: Counter[str] = field(default_factory=Counter)

    def report(self, file: str, line: int | None, reason: str) -> None:
        """Add a problem of a file, and of its line (from 1) if it has one."""
        self.problems.append(Problem(file, line, reason))

    def claim(self, id: str, file: str, line: int) -> bool:
        """Reserve an id for one post; report it and return False where it is taken."""
        if id in self._seen:
            self.report(file, line, f"id {id!r} is already in {self._seen[id]}; the first one is kept")
            return False
        self._seen[id] = f"{file}:{line}"
        return True

    def add(self, sample: Sample, file: str, line: int, *, hint: str = "") -> None:
        """Append a post whose id was claimed; `hint` ends the report of one that has nothing."""
        if sample.image is None and sample.text is None:
            self.report(file, line, f"post {sample.id!r} has neither image nor text{hint}")
        self.samples.append(sample)

    def pick(self, found: list[Path], id: str, file: str, line: int) -> Path | None:
        """The first of the files found for an id; others are reported."""
        if len(found) > 1:
            others = ", ".join(path.name for path in found[1:])
            self.report(file, line, f"post {id!r} has several files: {found[0].name} is used, not {others}")
        return found[0] if found else None

    def lines(self, path: Path) -> list[str | None]:
        """The lines of a label file or table, None for one in no known encoding. Raises ValueError."""
        lines, notes = read_lines(path)
        self.notes += [f"{path.name}: {note}" for note in notes]
        return lines

    def image_folder(self, root: Path) -> Folder:
        """Where the paths of a table in `root` lead: from the folder that the user named, else from `root`.

        Below the working folder also from there, as tables and images often lie in folders beside each other.
        """
        roots = [root] if self.images is None else [self.images, root]
        if Path.cwd() in absolute(root).parents:
            roots.append(Path())
        return Folder(*roots, foreign=self.images is not None)

    def find_images(self, folder: Folder, images: Sequence[str | Blob], file: str, line: int) -> list[Path | Blob]:
        """The files, links and blobs of a post's images; what is refused, absent or too many is reported."""
        found: list[Path | Blob] = []
        for one in images:
            if isinstance(one, Blob):
                found.append(one)
            else:
                named = (self.find_image(folder, name, file, line) for name in _names(folder, one))
                found += [image for image in named if image is not None]
        if len(found) > MOST_IMAGES:
            self.report(file, line, f"{len(found)} images: the first {MOST_IMAGES} are used; make it several posts")
        return found[:MOST_IMAGES]

    def find_image(self, folder: Folder, name: str, file: str, line: int) -> Path | Link | None:
        """The image of a row; None, and a report, where its path leads to none."""
        if is_link(name):
            return self._link(name, file, line)
        try:
            image = folder.find(name)
            reason = f"image {name!r} does not exist{folder.near(name)}" if image is None else ""
        except ValueError as error:
            image, reason = None, f"image refused: {error}"
        if reason:
            folder.lost.append(name)
            self.report(file, line, reason)
        return image

    def _link(self, name: str, file: str, line: int) -> Link | None:
        try:
            link = make_link(name, self.remote)
        except ValueError as error:
            self.report(file, line, f"image refused: {error}")
            return None
        self._hosts[link.host] += 1
        return link

    def note_several(self) -> None:
        """Note how many posts have several images."""
        further = [len(sample.more_images) for sample in self.samples if sample.more_images]
        if further:
            self.notes.append(f"{SEVERAL_IMAGES}: {len(further)}, with {sum(further)} images beyond the first")

    def note_links(self) -> None:
        """Note how many images are links, and to which hosts."""
        if self._hosts:
            hosts = [f"{host}: {count}" for host, count in self._hosts.most_common(3)]
            more = ["…"] if len(self._hosts) > 3 else []
            self.notes.append(f"{self._hosts.total()} images are links ({', '.join([*hosts, *more])})")

    def note_files(self, folder: Folder) -> None:
        """Note what a folder found under another name or from another root, and where lost images may be."""
        first, *others = folder.roots
        if folder.respelled:
            name, own = next(iter(folder.respelled.items()))
            show = ascii if unicodedata.normalize("NFC", own) in unicodedata.normalize("NFC", name) else repr
            such = f"such as {show(own)} for {show(name)}"
            self.notes.append(f"{len(folder.respelled)} files found under another spelling, {such}")
        if folder.by_their_end:
            self.notes.append(f"{len(folder.by_their_end)} images found in {first} by the end of an absolute path")
        if folder.from_other_root:
            roots = " or ".join(str(absolute(root)) for root in others)
            self.notes.append(
                f"{len(folder.from_other_root)} images counted from {roots}, as {first} has no such folder"
            )
        if folder.lost:
            place = find_elsewhere(folder.lost[0], first)
            cure = f"add --images {shlex.quote(str(place))}" if place else "--images DIR names another folder"
            roots = " or ".join(map(str, folder.roots))
            self.notes.append(f"{len(folder.lost)} images not found, with paths counted from {roots}; {cure}")


def _names(folder: Folder, cell: str) -> list[str]:
    """The names in a cell: of several images, unless the whole is the name of one."""
    if (several := split_images(cell)) and (not is_link(cell) or all(map(is_link, several))):
        with suppress(ValueError):
            return [cell] if folder.find(cell) else several
        return several
    return [cell]
