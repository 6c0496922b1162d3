"""Reads objects of s3, gs, hf and other storage through fsspec, with a limit on size and time."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ...spec import BadItem

Result = TypeVar("Result")
STATE = ("ETag", "etag", "sha256", "md5Hash", "crc32c", "LastModified", "last_modified", "mtime", "created", "updated")


def require_storage(scheme: str) -> None:
    """Raise ValueError where the package for a scheme is not installed."""
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}.get(scheme, "fsspec")
        raise ValueError(f"links of {scheme}:// need {package}: `pip install {package}`") from error


def read_object(url: str, *, limit: int, seconds: float, known: str = "") -> tuple[bytes | None, str]:
    """The first limit + 1 bytes of an object, None where its state is the `known` one; and its state.

    Credentials and endpoints are those that the environment gives to fsspec. Raises BadItem, TimeoutError, or an error
    of the storage.
    """
    import fsspec

    def read() -> tuple[bytes | None, str]:
        scheme = url.partition("://")[0].lower()
        system = fsspec.filesystem(scheme)  # not fsspec.open, for which a link may name several file systems
        path = system._strip_protocol(url)
        info = system.info(path)
        if info.get("type") == "directory":
            raise BadItem("it is a folder")
        state = " ".join(f"{name}={info[name]}" for name in STATE if info.get(name))
        if known and state == known:
            return None, state
        if (size := info.get("size")) is not None and size > limit:
            return bytes(limit + 1), state
        with system.open(path, "rb") as file:
            return file.read(limit + 1), state

    return _within(seconds, read)


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """The result of a call that cannot be interrupted; TimeoutError where it is late, and its thread is left to end."""
    done: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    Thread(target=run, name="object", daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    found: Result = result
    return found
