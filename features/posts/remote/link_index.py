"""Which content a link led to when it was last fetched: a small database beside the cache, and beside kept copies."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

from ...messages import notify
from .fetch import Known

FILE = "links.sqlite3"
FORMAT = 1
LOCK_SECONDS = 5.0
QUERY = 500
BATCH = 1000  # links written in one transaction
TABLE = "CREATE TABLE IF NOT EXISTS links (url TEXT PRIMARY KEY, key TEXT, etag TEXT, modified TEXT) WITHOUT ROWID"


class LinkIndex:
    """A context that writes new links at its end; thread-safe. Without a folder it knows nothing and keeps nothing.

    One that is damaged or locked is done without, as it only saves time; a line says so.
    """

    def __init__(self, folder: Path | None, *, update: bool = True) -> None:
        self.file = None if folder is None else folder / FILE
        self.update = update
        self.lock = RLock()
        self.new: dict[str, Known] = {}

    def find(self, urls: Sequence[str]) -> dict[str, Known]:
        """What is known of these links."""
        with self.lock:
            found = {url: self.new[url] for url in urls if url in self.new}
        for start in range(0, len(urls), QUERY):
            found = self._attempt(_select, urls[start : start + QUERY]) | found
        return found

    def add(self, url: str, known: Known) -> None:
        """Note what a link led to; it is written in batches."""
        with self.lock:
            if self.update and self.file:
                self.new[url] = known
                if len(self.new) >= BATCH:
                    self._write()

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the links to these contents."""
        self._attempt(_delete, list(keys))

    def __enter__(self) -> LinkIndex:
        return self

    def __exit__(self, *error: object) -> None:
        self._write()

    def _write(self) -> None:
        with self.lock:
            if self.new:
                self._attempt(_insert, [(url, one.key, one.etag, one.modified) for url, one in self.new.items()])
                self.new.clear()

    def _attempt(self, call: Callable[[sqlite3.Connection, list[Any]], dict[str, Known]], given: Sequence[Any]) -> Any:
        """The result of a call that uses the database; nothing where it cannot be used."""
        if self.file is None or not given or not (self.file if call is not _insert else self.file.parent).exists():
            return {}
        try:
            database = sqlite3.connect(self.file, LOCK_SECONDS)
            try:
                database.execute("PRAGMA synchronous = OFF")  # what a power cut destroys is fetched again
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, FORMAT):
                    raise sqlite3.DatabaseError(f"it is of format {version}, not {FORMAT}")
                with database:
                    if version == 0 and self.update:
                        database.execute(TABLE)
                        database.execute(f"PRAGMA user_version = {FORMAT}")
                    return call(database, list(given))
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            notify(f"{self.file} cannot be used ({error}); delete it, or links are fetched again")
            self.file = None
            return {}


def _select(database: sqlite3.Connection, urls: list[Any]) -> dict[str, Known]:
    marks = ", ".join("?" * len(urls))
    rows = database.execute(f"SELECT url, key, etag, modified FROM links WHERE url IN ({marks})", urls)
    return {url: Known(*known) for url, *known in rows}


def _insert(database: sqlite3.Connection, rows: list[Any]) -> dict[str, Known]:
    database.executemany("INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?)", rows)
    return {}


def _delete(database: sqlite3.Connection, keys: list[Any]) -> dict[str, Known]:
    database.executemany("DELETE FROM links WHERE key = ?", [(key,) for key in keys])
    return {}
