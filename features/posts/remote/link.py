"""An image that a table names by its link."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...blob import Blob
from .copies import read_link
from .settings import SCHEMES, Remote, host_of

_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Link(Blob):
    """An image behind a link of one of SCHEMES."""

    url: str
    remote: Remote

    @property
    def name(self) -> str:
        return self.url

    @property
    def file(self) -> None:
        return None

    @property
    def place(self) -> str:
        return self.url

    @property
    def host(self) -> str:
        """The host, or the bucket with its scheme, that is asked for it; without a password."""
        return host_of(self.url)

    def read(self, limit: int) -> bytes:
        return read_link(self.url, self.remote, limit)


def is_link(cell: str) -> bool:
    """Whether a cell is a link of any scheme."""
    return bool(_LINK.match(cell))


def make_link(cell: str, remote: Remote) -> Link:
    """The link in a cell. Raises ValueError for one of another scheme, or without a host."""
    scheme = cell.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise ValueError(f"{cell!r} is a link of a kind that is not fetched; {', '.join(SCHEMES[:-1])} are")
    try:
        host = urlsplit(cell).netloc
    except ValueError as error:
        raise ValueError(f"{cell!r} is no link: {error}") from error
    if not host or any(character.isspace() or not character.isprintable() for character in cell):
        raise ValueError(f"{cell!r} is no link: it has no host, or spaces; write them as %20")
    return Link(cell, remote)
