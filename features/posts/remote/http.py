"""Gets http and https links: one client in a thread of its own, with limits on size, time, redirections and addresses.

aiohttp is used as fsspec uses it, and not through fsspec, which would follow any redirection and hides the headers that
tell whether an image has changed.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
from collections.abc import Mapping
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import Lock, Thread
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ...spec import BadItem
from .addresses import PrivateAddressError, check_url, is_public

REDIRECTIONS = 5
BLOCK = 1 << 16
HEADERS = {
    "User-Agent": "msa",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class Response:
    """What a server answered: the first `limit` + 1 bytes of its body at most."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Sessions that keep their connections, for links that may and that must not lead to private addresses."""

    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.sessions: dict[bool, Any] = {}
        self.loop = asyncio.new_event_loop()
        Thread(target=self.loop.run_forever, name="links", daemon=True).start()

    def get(
        self, url: str, *, headers: Mapping[str, str], hosts: tuple[str, ...], limit: int, seconds: float
    ) -> Response:
        """The answer after redirections. Raises BadItem, TimeoutError, or an error of aiohttp."""
        task = asyncio.run_coroutine_threadsafe(self._get(url, headers, hosts, limit, seconds), self.loop)
        try:
            return task.result(seconds + 5)  # the loop itself is late only where it is overloaded
        except (Late, CancelledError) as error:
            task.cancel()
            raise TimeoutError from error

    def close(self) -> None:
        """End the sessions; what is still under way fails."""

        async def end() -> None:
            for session in self.sessions.values():
                await session.close()

        with suppress(Late):
            asyncio.run_coroutine_threadsafe(end(), self.loop).result(1)
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _get(
        self, url: str, headers: Mapping[str, str], hosts: tuple[str, ...], limit: int, seconds: float
    ) -> Response:
        async with asyncio.timeout(seconds):
            for _ in range(REDIRECTIONS + 1):
                session = self._session(private=check_url(url, hosts))
                proxy = _proxy_for(url)
                given = HEADERS | dict(headers)
                async with session.get(url, headers=given, allow_redirects=False, proxy=proxy) as response:
                    if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                        url = urljoin(url, response.headers["Location"])
                        continue
                    body = bytearray()
                    if response.status == 200 and (response.content_length or 0) > limit:
                        body = bytearray(limit + 1)  # refused for its size, without reading it
                    elif response.status == 200:
                        async for block in response.content.iter_chunked(BLOCK):
                            body += block
                            if len(body) > limit:
                                break
                    return Response(response.status, response.reason or "", response.headers, bytes(body[: limit + 1]))
        raise BadItem(f"it is redirected more than {REDIRECTIONS} times")

    def _session(self, *, private: bool) -> Any:
        """The session for links to allowed hosts, or the one that connects to public addresses alone."""
        import aiohttp

        if private not in self.sessions:
            guard = None if private else _public_socket
            connector = aiohttp.TCPConnector(limit=self.connections, socket_factory=guard)
            self.sessions[private] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self.sessions[private]


def client(connections: int) -> Client:
    """The client of this process."""
    with _making:
        return _client(connections)


_making = Lock()  # without it, two threads would make one each


@cache
def _client(connections: int) -> Client:
    made = Client(connections)
    atexit.register(made.close)
    return made


def _public_socket(found: tuple[Any, ...]) -> socket.socket:
    """The socket for an address that a name was resolved to, checked here so that no later answer can replace it."""
    family, kind, protocol, _, address = found
    if not is_public(address[0]) and address[0] not in _proxy_hosts():
        raise PrivateAddressError(address[0])
    return socket.socket(family, kind, protocol)


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names; the passwords of ~/.netrc are never sent."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


@cache
def _proxy_hosts() -> frozenset[str]:
    """The addresses of those proxies, which may well be private."""
    names = {urlsplit(proxy).hostname for proxy in getproxies().values()} - {None}
    found = set()
    for name in names:
        try:
            found |= {str(one[4][0]) for one in socket.getaddrinfo(name, None)}
        except OSError:
            continue
    return frozenset(found)
