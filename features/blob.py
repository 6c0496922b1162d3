"""What an image is where it is no file of its own: a cell of a table, a member of a tar file, a link."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path


class Blob(ABC):
    """An image in a place that is no file of its own. Hashable; equal where the place is the same."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The place in one line, as messages and error records name it."""

    @property
    @abstractmethod
    def file(self) -> Path | None:
        """The file that holds it, whose state tells whether it may have changed; None where that is no file here."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The place in that file."""

    @abstractmethod
    def read(self, limit: int) -> bytes:
        """Its content, of one larger than `limit` bytes the first limit + 1. Raises BadItem."""

    def __str__(self) -> str:
        return self.name


def content_key(raw: bytes) -> str:
    """Digest of the bytes, 32 hex digits."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
