"""What stands before every request: hosts, origins, the token, limits of bodies; and headers of every answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Answered = Callable[[str, str, int, float], object]

MAX_BODY = 64_000_000  # bytes of one request
MAX_BODIES = 256_000_000  # bytes of all requests that are not answered yet
BODY_SECONDS = 30.0  # for a request to arrive
OPEN = ("/health", "/login")  # paths that need no token; the page asks for it
COOKIE = "msa_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none, a browser would send the origin of a form as null
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is of this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in ("localhost", "ip6-localhost")


def digest(token: str) -> str:
    """What the cookie holds instead of the token, which may have any character."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def same_token(given: str, token: str) -> bool:
    """Whether two tokens are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(digest(given), digest(token))


class Guard:
    """ASGI middleware. Without a token only loopback hosts are answered; with one, a request has to show it.

    A browser shows the token by a cookie, which it sends to the host that set it alone: so a page of another host
    (DNS rebinding) cannot use a server that has a token, and is no loopback host for one that has none.
    """

    def __init__(self, app: ASGIApp, token: str = "", answered: Answered = lambda *answer: None) -> None:
        """`answered` is told method, route, status and seconds of each answer."""
        self.app, self.token, self.answered = app, token, answered
        self.bytes = 0  # of bodies in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan; there are no websockets
            await self.app(scope, receive, send)
            return

        started = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")  # its pattern: clients cannot make up more
                self.answered(scope["method"], route, message["status"], time.perf_counter() - started)
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refuse(scope, headers) or self._refuse_size(headers)
        if refusal:
            status, reason, more = refusal
            await JSONResponse({"error": reason}, status, more)(scope, receive, send_with_headers)
            return
        size = _length(headers)
        self.bytes += size
        try:
            await self.app(scope, _limited(receive), send_with_headers)
        finally:
            self.bytes -= size

    def _refuse(self, scope: Scope, headers: Headers) -> tuple[int, str, Mapping[str, str]] | None:
        host = headers.get("host", "")
        if not self.token and not is_loopback(_host_name(host)):
            return 421, f"this server is for this machine alone, as 127.0.0.1 or localhost; got the host {host!r}", {}
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in SAFE_METHODS and urlsplit(origin).netloc != host:
            return 403, f"requests of other sites are refused; got the origin {origin!r}", {}
        scope["authorized"] = not self.token or self._shows_token(headers)
        page = scope["path"] == "/" and scope["method"] in SAFE_METHODS  # asks for the token itself
        if not scope["authorized"] and not page and scope["path"] not in OPEN and not _is_static(scope["path"]):
            how = "send the header 'Authorization: Bearer TOKEN', or open / in a browser"
            return 401, f"a token is needed; {how}", {"www-authenticate": "Bearer"}
        return None

    def _refuse_size(self, headers: Headers) -> tuple[int, str, Mapping[str, str]] | None:
        size = _length(headers)
        if size > MAX_BODY:
            return (
                413,
                f"a request may have {MAX_BODY // 1_000_000} MB; got {size / 1e6:.1f} MB",
                {"connection": "close"},
            )
        if self.bytes + size > MAX_BODIES:
            return 503, "too much is being uploaded at once; try again", {"retry-after": "1"}
        return None

    def _shows_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return same_token(given.strip(), self.token)
        try:
            cookie: Any = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), digest(self.token).encode())


def _is_static(path: str) -> bool:
    return path.startswith("/static/")


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; empty for a malformed one."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _length(headers: Headers) -> int:
    """Bytes that a body takes: as its header says, or the most it may have."""
    given = headers.get("content-length", "")
    if given.isdecimal():
        return int(given[:20])
    return MAX_BODY if "transfer-encoding" in headers else 0


def _limited(receive: Receive) -> Receive:
    """`receive` for a body that arrives in time, and is no larger than it may be. Raises HTTPException."""
    received, deadline = 0, asyncio.get_running_loop().time() + BODY_SECONDS
    complete = False

    async def limited() -> Message:
        nonlocal received, complete
        if complete:  # what follows the body is that the client has gone, whenever that may be
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the request took over {BODY_SECONDS:.0f} s to arrive") from error
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > MAX_BODY:
            raise HTTPException(413, f"a request may have {MAX_BODY // 1_000_000} MB")
        return message

    return limited
