"""Fetches links: retries with a growing pause within the time of each, and gives up on hosts that never answer."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from ...messages import first_line
from ...spec import BadItem
from .addresses import PrivateAddressError, refusal
from .http import Response, client
from .settings import HTTP, Remote, host_of
from .storage import read_object

ATTEMPTS = 4
PAUSE = 0.5  # seconds before the second attempt, twice as many before each later one
BUSY = {408, 425, 429, 500, 502, 503, 504}  # answers that another attempt may change
HOPELESS = 20  # failures in a row after which a host is not asked any more


@dataclass(frozen=True)
class Known:
    """What an earlier fetch found behind a link: the content key, and the headers or the state that tell of changes."""

    key: str
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True)
class Fetched:
    """What is behind a link; no content where it is what was known."""

    content: bytes | None
    etag: str = ""
    modified: str = ""


class _RetryError(Exception):
    """A failure that another attempt may mend, `after` seconds if the server tells."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Hosts:
    """Counts the failures of each host since it last answered."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.lock = Lock()

    def check(self, host: str) -> None:
        """Raise BadItem where a host has failed so often that it would only cost time."""
        if self.failures[host] >= HOPELESS:
            raise BadItem(
                f"{host} did not answer {HOPELESS} times in a row and was not asked again; run it again later"
            )

    def note(self, host: str, *, answered: bool) -> None:
        """Count attempts without an answer; an answer starts again from 0."""
        with self.lock:
            self.failures[host] = 0 if answered else self.failures[host] + 1


def fetch(url: str, remote: Remote, *, limit: int, known: Known | None = None, hosts: Hosts | None = None) -> Fetched:
    """What is behind a link, of more than `limit` bytes the first limit + 1. Raises BadItem with the reason."""
    hosts, host, until = hosts or Hosts(), host_of(url), time.monotonic() + remote.timeout
    reason = ""
    for attempt in range(ATTEMPTS):
        hosts.check(host)
        try:
            found = _fetch_once(url, remote, limit, until - time.monotonic(), known)
        except BadItem:
            hosts.note(host, answered=True)
            raise
        except _RetryError as error:
            reason = str(error)
            pause = max(error.after, PAUSE * 2**attempt * random.uniform(0.75, 1.25))
            hosts.note(host, answered=False)
            if attempt + 1 == ATTEMPTS or time.monotonic() + pause >= until:
                break
            time.sleep(pause)
        else:
            hosts.note(host, answered=True)
            return found
    raise BadItem(f"not fetched: {reason}")


def fetch_all(
    links: Iterable[tuple[str, Known | None]], remote: Remote, *, limit: int
) -> Iterator[tuple[str, Fetched | BadItem]]:
    """Fetch links, `remote.connections` at once, in their order; a failure is returned. Few contents are held."""
    hosts, left = Hosts(), iter(links)

    def attempt(url: str, known: Known | None) -> Fetched | BadItem:
        try:
            return fetch(url, remote, limit=limit, known=known, hosts=hosts)
        except BadItem as error:
            return error

    pending: deque[tuple[str, Future[Fetched | BadItem]]] = deque()
    with ThreadPoolExecutor(remote.connections) as pool:
        try:
            while True:
                for url, known in islice(left, 2 * remote.connections - len(pending)):
                    pending.append((url, pool.submit(attempt, url, known)))
                if not pending:
                    return
                url, found = pending.popleft()
                yield url, found.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch_once(url: str, remote: Remote, limit: int, seconds: float, known: Known | None) -> Fetched:
    """One attempt. Raises BadItem, or _RetryError."""
    late = f"not all of it came within {remote.timeout:g} s; --fetch-timeout allows more"
    if seconds <= 0:
        raise _RetryError(late)
    if url.partition("://")[0].lower() not in HTTP:
        try:
            content, state = read_object(url, limit=limit, seconds=seconds, known=known.etag if known else "")
        except BadItem:
            raise
        except TimeoutError as error:
            raise _RetryError(late) from error
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise BadItem(f"not fetched: {type(error).__name__}") from error
        except Exception as error:  # of any storage's own kind
            raise _RetryError(first_line(error)) from error
        return Fetched(content, state)
    return _read_answer(_get(url, remote, limit, seconds, known, late))


def _get(url: str, remote: Remote, limit: int, seconds: float, known: Known | None, late: str) -> Response:
    import aiohttp

    asked = {"If-None-Match": known.etag, "If-Modified-Since": known.modified} if known else {}
    headers = {name: value for name, value in asked.items() if value}
    try:
        return client(remote.connections).get(url, headers=headers, hosts=remote.hosts, limit=limit, seconds=seconds)
    except TimeoutError as error:
        raise _RetryError(late) from error
    except (aiohttp.InvalidURL, aiohttp.ClientSSLError, UnicodeError) as error:
        raise BadItem(f"not fetched: {first_line(error)}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause: object = getattr(error, "os_error", None) or error.__cause__
        if isinstance(cause, PrivateAddressError):
            raise BadItem(refusal(host_of(url).partition(":")[0])) from error
        if isinstance(error, BadItem):
            raise
        raise _RetryError(f"the connection failed: {first_line(error)}") from error


def _read_answer(found: Response) -> Fetched:
    if found.status == 304:
        return Fetched(None)
    if found.status == 200:
        return Fetched(found.body, found.headers.get("ETag", ""), found.headers.get("Last-Modified", ""))
    answer = f"the server answers {found.status} {found.reason}".rstrip()
    if found.status in BUSY:
        after = 0.0
        with suppress(ValueError):
            after = max(0.0, float(found.headers.get("Retry-After", "0")))
        raise _RetryError(answer, after)
    raise BadItem(answer)
