"""Copies of fetched images, named by their content: in a folder that the user named, else some for a while.

Without a folder, images are fetched to learn their content and again to embed them, but for those that a temporary
folder of limited size still has.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

from ...blob import content_key
from ...spec import BadItem
from .fetch import Known, fetch
from .link_index import LinkIndex
from .settings import Remote

NOT_FETCHED = "it is a link that was not fetched; add --remote"
NOT_KEPT = "it is a link of which no copy is kept here; add --remote to fetch it again, or --keep-images DIR"
SPOOL_BYTES = 1 << 30  # of copies that end with the process
SPOOL_SHARE = 0.1  # of the free disk, at most


class NotKept(BadItem):
    """The content of a link is known, but not here, and may not be fetched."""


class Copies:
    """Images in a folder, at AB/ABCDEF… by content key. Several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> bytes | None:
        """The copy of that content; None where there is none, or it is damaged."""
        with suppress(OSError):
            content = self._path(key).read_bytes()
            return content if content_key(content) == key else None
        return None

    def add(self, key: str, content: bytes) -> None:
        """Keep a copy, whole or not at all. Raises ValueError where the folder cannot be written to."""
        path = self._path(key)
        if path.exists():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                file.write(content)
            Path(file.name).replace(path)
        except OSError as error:
            with suppress(OSError, UnboundLocalError):
                Path(file.name).unlink()
            raise ValueError(f"cannot keep images in {self.folder}: {error.strerror}; name another folder") from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


class Spool:
    """Copies of images of this process by their link, in a folder that grows no larger than a limit."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, str] = {}
        self.lock = Lock()
        self.copies = Copies(folder)
        self.left = min(SPOOL_BYTES, int(shutil.disk_usage(folder).free * SPOOL_SHARE))

    def add(self, url: str, key: str, content: bytes) -> None:
        """Keep the content of a link under its content key, while there is space left."""
        with self.lock:
            if len(content) > self.left:
                return
            self.left -= len(content)
            self.keys[url] = key
        self.copies.add(key, content)

    def read(self, url: str) -> bytes | None:
        """The content of a link; None where it was not kept."""
        key = self.keys.get(url)
        return None if key is None else self.copies.read(key)


def spool() -> Spool:
    """The one of this process, whose temporary folder is deleted at its end."""
    with _making:
        return _spool()


_making = Lock()  # without it, two threads would make one each


@cache
def _spool() -> Spool:
    folder = tempfile.mkdtemp(prefix="msa-images-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Spool(Path(folder))


def keep_copy(url: str, content: bytes, known: Known, remote: Remote, index: LinkIndex) -> None:
    """Keep what was fetched, as `remote` says; `index` is that of the folder it names."""
    if remote.keep is None:
        spool().add(url, known.key, content)
    else:
        Copies(remote.keep).add(known.key, content)
        index.add(url, known)


def read_link(url: str, remote: Remote, limit: int) -> bytes:
    """The content of a link: the copy that is kept, else fetched. Raises BadItem, NotKept where it must not be."""
    if remote.keep is None:
        content = spool().read(url)
    else:
        kept = LinkIndex(remote.keep).find([url]).get(url)
        content = Copies(remote.keep).read(kept.key) if kept else None
    if content is not None:
        return content
    if not remote.fetch:
        raise NotKept(NOT_KEPT)
    found = fetch(url, remote, limit=limit)
    assert found.content is not None
    if len(found.content) <= limit:
        known = Known(content_key(found.content), found.etag, found.modified)
        with LinkIndex(remote.keep) as index:
            keep_copy(url, found.content, known, remote, index)
    return found.content
