"""What a run does to its files, in order: to fail one operation of it, or to rebuild what a loss of power leaves.

The disk is a journaling one at its least obliging. Bytes written since a file's last fsync are new, old, zero or
missing, block by block. A name made, moved or removed since its folder's last fsync has or has not changed, each by
itself and none by halves. What was fsynced stays.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from msa.features.store.writer import Writer

BLOCK = 512  # bytes that a disk writes as one
WRITES = os.O_WRONLY | os.O_RDWR

Key = tuple[str, bytes]  # (encoder, content key)


def watch(root: Path, before: Callable[[str, Any], object]) -> None:
    """Call `before(operation, path or handle)` ahead of each change below `root`, for the life of the process.

    HDF5 writes through a file that Python opened, so its writes are among them.
    """
    real_fsync, real_open = os.fsync, Path.open

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir") or (event == "open" and arguments[2] & WRITES):
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(root):
                before(event, Path(path))

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            before("write", self.fileno())
            return super().write(data)

    def open_path(path: Path, mode: str = "r", buffering: int = -1, **options: Any) -> Any:
        if "b" not in mode or mode == "rb" or not path.is_relative_to(root):
            return real_open(path, mode, buffering, **options)
        raw = Raw(path, mode.replace("b", ""))
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    def fsync(handle: int) -> None:
        before("fsync", handle)
        real_fsync(handle)

    sys.addaudithook(audit)
    Path.open = open_path  # type: ignore[method-assign]
    os.fsync = fsync  # type: ignore[assignment]


class Faults:
    """Counts the operations of a run, and refuses number `at` (from 1) or all from it on with an error number."""

    def __init__(self, root: Path, at: int, code: int, lasting: bool) -> None:
        self.operations = 0
        self.at = at
        self.code = code
        self.lasting = lasting
        watch(root, self.before)

    def before(self, operation: str, subject: Path | int) -> None:
        if operation == "os.mkdir" and isinstance(subject, Path) and subject.is_dir():
            return  # a lock makes sure of its folder; where that is there, nothing is changed
        if operation == "os.remove" and (self.lasting or str(subject).endswith(".tmp")):
            return  # a full disk lets go of files; a temporary file that cannot be removed is harmless where it lies
        self.operations += 1
        if self.operations == self.at or (self.lasting and self.operations > self.at > 0):
            name = (str(subject),) if isinstance(subject, Path) else ()  # a handle has no name to tell
            raise OSError(self.code, os.strerror(self.code), *name)


@dataclass(frozen=True)
class Step:
    """The files as they are before an operation; all by inode, so that a renamed file stays itself."""

    operation: str
    inode: int | None  # what is fsynced
    tree: dict[int, dict[str, int]]  # folder -> name -> inode; the root first
    data: dict[int, bytes]  # file -> bytes
    promised: frozenset[Key]  # rows that the writer has declared safe


class Journal:
    """Notes a step before every change below `root` but writes, which no fsync follows at once; all go to `file`."""

    def __init__(self, root: Path, file: Path) -> None:
        self.root = root
        self.file = file
        self.steps: list[Step] = []
        self.lock = Lock()
        self.held: dict[int, int] = {}  # inode -> handle: as long as one is open, no new file gets its inode
        self.known: dict[bytes, bytes] = {}
        self.promised: frozenset[Key] = frozenset()

    def __enter__(self) -> Journal:
        self.note("start", None)
        watch(self.root, lambda operation, subject: operation == "write" or self.note(operation, subject))
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.note("end", None)
        self.file.write_bytes(pickle.dumps(self.steps))

    def note(self, operation: str, subject: Path | int | None) -> None:
        with self.lock:
            inode = os.fstat(subject).st_ino if operation == "fsync" and isinstance(subject, int) else None
            tree: dict[int, dict[str, int]] = {}
            data: dict[int, bytes] = {}
            self._visit(self.root, tree, data)
            self.steps.append(Step(operation, inode, tree, data, self.promised))

    def _visit(self, path: Path, tree: dict[int, dict[str, int]], data: dict[int, bytes]) -> int | None:
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # removed by another thread since it was listed
            return None
        status = os.fstat(handle)
        inode = status.st_ino
        if self.held.setdefault(inode, handle) != handle:
            os.close(handle)
        if stat.S_ISDIR(status.st_mode):
            tree[inode] = {}
            inside = {found.name: self._visit(Path(found), tree, data) for found in os.scandir(path)}
            tree[inode].update({name: found for name, found in inside.items() if found is not None})
        else:
            content = os.pread(self.held[inode], status.st_size, 0)
            data[inode] = self.known.setdefault(content, content)
        return inode

    def _listen(self) -> None:
        """Take the writer at its word: what a flush has returned from is safe."""
        real_add, real_flush = Writer.add, Writer.flush
        given: dict[int, set[Key]] = {}

        def add(writer: Writer, key: str, *embedding: Any, **cost: Any) -> None:
            given.setdefault(id(writer), set()).add((writer.store.spec.name, key.encode()))
            real_add(writer, key, *embedding, **cost)

        def flush(writer: Writer) -> None:
            real_flush(writer)
            self.promised |= given.get(id(writer), set())

        Writer.add, Writer.flush = add, flush  # type: ignore[method-assign]


def lose_power(steps: list[Step], cut: int, root: Path, rng: random.Random) -> frozenset[Key]:
    """Write below `root` what may be on the disk if power goes just as step `cut` begins; return the rows promised."""
    disk = _Disk(steps[0])
    for step in steps[:cut]:
        disk.see(step)
        if step.inode is not None:
            disk.sync(step.inode)
    disk.see(steps[cut])
    disk.write(root, rng)
    return steps[cut].promised


class _Disk:
    def __init__(self, first: Step) -> None:
        self.root = next(iter(first.tree))
        self.tree, self.data = first.tree, dict(first.data)  # as the run sees them
        self.names = {folder: dict(names) for folder, names in first.tree.items()}  # as they are safe
        self.bytes = dict(first.data)
        self.changes: dict[int, list[dict[str, int | None]]] = {}  # not safe yet, each atomic

    def see(self, step: Step) -> None:
        for folder, after in step.tree.items():
            before = self.tree.get(folder, {})
            gone = {inode: name for name, inode in before.items() if name not in after}
            changes = self.changes.setdefault(folder, [])
            for name, inode in after.items():
                if before.get(name) != inode:
                    source = {gone.pop(inode): None} if inode in gone else {}
                    changes.append({**source, name: inode})
            changes += [{name: None} for name in gone.values()]
        self.tree = step.tree
        self.data.update(step.data)

    def sync(self, inode: int) -> None:
        if inode in self.data:
            self.bytes[inode] = self.data[inode]
        for change in self.changes.pop(inode, ()):
            _apply(change, self.names.setdefault(inode, {}))

    def write(self, root: Path, rng: random.Random) -> None:
        likely = rng.choice((0.0, 0.5, 1.0))
        names = {folder: dict(names) for folder, names in self.names.items()}
        for folder, changes in self.changes.items():
            for change in changes:
                if rng.random() < likely:
                    _apply(change, names.setdefault(folder, {}))

        def place(inode: int, path: Path) -> None:
            if inode in self.data:
                path.write_bytes(torn(self.bytes.get(inode, b""), self.data[inode], rng))
            else:
                path.mkdir(exist_ok=True)
                for name, inside in names.get(inode, {}).items():
                    place(inside, path / name)

        place(self.root, root)


def _apply(change: dict[str, int | None], names: dict[str, int]) -> None:
    for name, inode in change.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def torn(old: bytes, new: bytes, rng: random.Random) -> bytes:
    """What is left of a file whose fsynced bytes are `old` and whose written bytes are `new`."""
    if old == new:
        return new
    keep = rng.choice((0.0, 0.5, 1.0))
    size = rng.choice((len(old), len(new), rng.randint(0, max(len(old), len(new)))))
    blocks = []
    for start in range(0, size, BLOCK):
        source = new if rng.random() < keep else rng.choice((old, b""))
        blocks.append(source[start : start + BLOCK].ljust(BLOCK, b"\0"))
    return b"".join(blocks)[:size]
