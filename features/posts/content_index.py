"""The content index beside the cache: the content key of each file as it was, so that unchanged files are not read.

It only saves time: one that is locked or cannot be written is done without, a damaged one is rebuilt; a line says so.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache as keep
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Any

from ..blob import Blob
from ..messages import notify
from ..spec import Modality

FILE = "content-index.sqlite3"
FORMAT = 2
RACY_NS = 2_000_000_000  # a file modified so shortly before it is read may be modified again under the same time
BATCH = 20_000  # keys written in one transaction
QUERY = 500  # keys of one query
LOCK_SECONDS = 5.0
DAMAGED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}  # the first: other tables or columns

# Path below the data root, of what lies in a file with the place there; inode, size, and when content and inode
# changed, in ns. The device is left out: it differs among machines that share a disk, and from one start of a machine
# to the next.
FileState = tuple[bytes, int, int, int, int]

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS files (
    modality TEXT, path BLOB, inode INTEGER, size INTEGER, modified INTEGER, changed INTEGER, reader TEXT, key TEXT,
    encoding TEXT, PRIMARY KEY (modality, path, inode)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS hashes (
    modality TEXT, key TEXT, reader TEXT, hash TEXT, PRIMARY KEY (modality, key)) WITHOUT ROWID""",
)


class ContentIndex:
    """Content keys of the files of one data folder. A context that writes new keys at its end; thread-safe.

    Without a cache folder it knows nothing and keeps nothing. `rehash` distrusts what is stored and replaces it;
    without `update` nothing is written.
    """

    def __init__(self, cache: Path | None, root: Path, *, rehash: bool = False, update: bool = True) -> None:
        self.root = b"" if root == Path() else os.fsencode(root) + os.fsencode(os.sep)
        self.rehash = rehash
        self.update = update
        self.lock = RLock()
        self.new: dict[Modality, dict[FileState, tuple[str, str]]] = {"image": {}, "text": {}}
        self.new_hashes: dict[tuple[Modality, str], str] = {}
        self.database: sqlite3.Connection | None = None  # opened when it is first used
        self.usable = cache is not None and cache.is_dir()
        self.file = (cache or Path()) / FILE

    def states(self, sources: Iterable[Path | Blob]) -> dict[Path | Blob, FileState]:
        """The state of each file, or of what lies in one; none of a file that is absent, or was modified just now."""
        if not self.usable:
            return {}
        latest = time.time_ns() - RACY_NS
        holding: dict[Path, FileState | None] = {}  # of files that hold many
        states: dict[Path | Blob, FileState] = {}
        for source in sources:
            if not isinstance(source, Blob):
                state = self._state(os.fsencode(source), latest)
            elif source.file is None:
                continue
            else:
                if source.file not in holding:
                    holding[source.file] = self._state(os.fsencode(source.file), latest)
                state = holding[source.file]
                state = state and (b"\0".join([state[0], os.fsencode(source.place)]), *state[1:])
            if state:
                states[source] = state
        return states

    def _state(self, path: bytes, latest: int) -> FileState | None:
        try:
            found = os.stat(path)  # noqa: PTH116 (a path of bytes, for a million files)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return None
        if found.st_mtime_ns > latest:
            return None
        below = path[len(self.root) :] if path.startswith(self.root) else os.path.relpath(path, self.root)
        inode = found.st_ino & (2**63 - 1)  # SQLite has no larger numbers
        return below, inode, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def find(self, modality: Modality, states: Iterable[FileState]) -> dict[FileState, tuple[str, str]]:
        """Key and encoding of the files that are as they were when they were hashed; no key of a blank text."""
        paths = [] if self.rehash else [state[0] for state in states]
        return self._attempt(self._select, modality, paths) or {} if paths else {}

    def add(self, modality: Modality, state: FileState, key: str, encoding: str) -> None:
        """Keep the key of a file that was read after its state was taken; and the encoding of a text."""
        with self.lock:
            if self.update:
                self.new[modality][state] = key, encoding
            if len(self.new[modality]) >= BATCH:
                self._attempt(self._write)

    def find_hashes(self, modality: Modality, keys: Sequence[str]) -> dict[str, str]:
        """The hashes of near copies (see near_duplicates.py) that are known, by content key."""
        found: dict[str, str] = {}
        for start in range(0, 0 if self.rehash else len(keys), QUERY):
            found |= self._attempt(self._select_hashes, modality, keys[start : start + QUERY]) or {}
        return found

    def add_hash(self, modality: Modality, key: str, found: str) -> None:
        """Keep the hash of a content."""
        with self.lock:
            if self.usable and self.update:
                self.new_hashes[modality, key] = found
                if len(self.new_hashes) >= BATCH:
                    self._attempt(self._write)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the files that have these keys."""
        self._attempt(self._delete, [(key,) for key in keys])

    def __enter__(self) -> ContentIndex:
        return self

    def __exit__(self, *error: object) -> None:
        if self.new_hashes or any(self.new.values()):
            self._attempt(self._write)
        self._close()

    def _attempt(self, call: Callable[..., Any], *given: Any) -> Any:
        """The result of a call that uses the database, or None without one. A damaged database is removed."""
        with self.lock:
            try:
                if self.database is None and self.usable:
                    self._open(create=call == self._write)
                return call(*given) if self.database else None
            except (sqlite3.Error, OSError) as error:
                self._close()
                self.usable = getattr(error, "sqlite_errorcode", None) in DAMAGED and self.update and self._remove()
                if self.usable:
                    _note(f"{self.file} was damaged ({error}); it is built again from the posts")
                elif call == self._write:
                    _note(f"{self.file} cannot be written ({error}); the files that it lacks are read by each command")
                else:
                    _note(f"{self.file} cannot be used ({error}); the files of all posts are read again")
                return None

    def _open(self, *, create: bool) -> None:
        if self.file.exists() and not self.file.is_file():
            raise OSError("it is not a regular file")
        if not self.file.exists() and not (create and self.update):
            return
        address = f"{self.file.absolute().as_uri()}?mode={'rwc' if self.update else 'ro'}"
        self.database = sqlite3.connect(address, LOCK_SECONDS, check_same_thread=False, uri=True)
        version = self.database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and self.update:
            with self.database:
                for statement in SCHEMA:
                    self.database.execute(statement)
                self.database.execute(f"PRAGMA user_version = {FORMAT}")
        elif version != FORMAT:  # of another version of msa
            self._close()
            if self.update and self._remove():
                self._open(create=create)

    def _remove(self) -> bool:
        """Remove the database and what SQLite would apply to a new one; return whether that was possible."""
        with suppress(OSError):
            self.file.with_name(f"{FILE}-journal").unlink(missing_ok=True)
            self.file.unlink(missing_ok=True)
            return True
        return False

    def _close(self) -> None:
        with self.lock:
            if self.database:
                with suppress(sqlite3.Error):
                    self.database.close()
                self.database = None

    def _select(self, modality: Modality, paths: list[bytes]) -> dict[FileState, tuple[str, str]]:
        assert self.database
        rows = self.database.execute(
            "SELECT path, inode, size, modified, changed, key, encoding FROM files WHERE modality = ? AND reader = ? "
            f"AND path IN ({', '.join('?' * len(paths))})",
            [modality, _reader(modality), *paths],
        )
        return {tuple(state): (key, encoding) for *state, key, encoding in rows}

    def _select_hashes(self, modality: Modality, keys: Sequence[str]) -> dict[str, str]:
        assert self.database
        rows = self.database.execute(
            f"SELECT key, hash FROM hashes WHERE modality = ? AND reader = ? AND key IN ({', '.join('?' * len(keys))})",
            [modality, _sources(), *keys],
        )
        return dict(rows.fetchall())

    def _write(self) -> None:
        assert self.database
        with self.database:
            for modality, keys in self.new.items():
                rows = ((modality, *state, _reader(modality), *found) for state, found in keys.items())
                self.database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            hashes = ((modality, key, _sources(), found) for (modality, key), found in self.new_hashes.items())
            self.database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", hashes)
        for keys in self.new.values():
            keys.clear()
        self.new_hashes.clear()

    def _delete(self, keys: list[tuple[str]]) -> None:
        assert self.database
        with self.database:
            self.database.executemany("DELETE FROM files WHERE key = ?", keys)


def _reader(modality: Modality) -> str:
    """What a key depends on beside the bytes: for texts, the code that decodes them."""
    return "" if modality == "image" else _sources()


@keep
def _sources() -> str:
    """Digest of the code that reads posts."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return blake2b(b"\0".join(source.read_bytes() for source in sources), digest_size=8).hexdigest()


@keep
def _note(message: str) -> None:
    """Say it once."""
    notify(message)
