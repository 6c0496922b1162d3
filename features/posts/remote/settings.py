"""How links are fetched, and which kinds of links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HTTP = ("http", "https")
STORAGE = ("s3", "gs", "hf", "memory")  # file systems of fsspec
SCHEMES = HTTP + STORAGE


@dataclass(frozen=True)
class Remote:
    """How images that are links are fetched. Raises ValueError for a limit out of range.

    Nothing is asked of any host unless `fetch`. `keep` is the folder of copies, by content; None: no copies stay.
    Private addresses are refused but for `hosts`. `timeout` is in seconds for each image, all attempts together.
    """

    fetch: bool = False
    keep: Path | None = None
    hosts: tuple[str, ...] = ()
    timeout: float = 30.0
    connections: int = 16

    def __post_init__(self) -> None:
        if not self.timeout > 0 or self.connections < 1:
            raise ValueError(f"timeout and connections must be above 0, got {self.timeout} and {self.connections}")
        if self.keep is not None and self.keep.exists() and not self.keep.is_dir():
            raise ValueError(f"--keep-images wants a folder, and {str(self.keep)!r} is none; name another")


def host_of(url: str) -> str:
    """The host of a link; of object storage the scheme and the bucket."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return host if parts.scheme.lower() in HTTP else f"{parts.scheme}://{host}"
