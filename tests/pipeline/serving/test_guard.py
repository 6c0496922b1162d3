"""Who is answered: loopback hosts, pages of this server, and those who show the token; and no body is too large."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from msa.pipeline.serving import guard
from msa.pipeline.serving.guard import COOKIE, Guard, digest, is_loopback

TOKEN = "a-long-secret;with=signs"


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body()), "authorized": request.scope["authorized"]})


def client(token: str = "") -> TestClient:
    app = Starlette(routes=[Route(path, echo, methods=["GET", "POST"]) for path in ("/", "/predict", "/health")])
    app.add_middleware(Guard, token=token)
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_hosts_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.4", "localhost.evil.example", "127.0.0.1.evil", "", "1"])
def test_hosts_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", "", "192.168.0.4"]
)
def test_a_page_of_another_host_is_refused_whatever_its_name_leads_to(host: str) -> None:
    answer = client().post("/predict", headers={"host": host})
    assert answer.status_code == 421
    assert "this server is for this machine alone" in answer.json()["error"]
    assert client().get("/", headers={"host": "localhost:1"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9000", "http://localhost:8000"])
def test_requests_of_other_sites_are_refused(origin: str) -> None:
    assert client().post("/predict", headers={"origin": origin}).status_code == 403
    assert client().post("/predict", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    answer = client().options("/predict", headers={"origin": origin, "access-control-request-method": "POST"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_with_a_token_a_request_shows_it_by_header_or_cookie() -> None:
    guarded = client(TOKEN)
    wrong: list[dict[str, Any]] = [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": b"Bearer \xff\xfe"},
        {"cookie": f"{COOKIE}=wrong"},
        {"cookie": f"{COOKIE}=\x7f; ="},
        {"cookie": f"{COOKIE}={digest('other')}"},
    ]
    for headers in wrong:
        answer = guarded.post("/predict", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
    right = [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"cookie": f"{COOKIE}={digest(TOKEN)}"},
        {"cookie": f"{COOKIE}={digest(TOKEN)}", "host": "any.example"},
    ]
    for headers in right:
        assert guarded.post("/predict", headers=headers).status_code == 200, headers
    assert guarded.get("/health").status_code == 200
    assert guarded.get("/").json()["authorized"] is False
    assert guarded.post("/").status_code == 401


def test_every_answer_says_what_a_browser_may_load() -> None:
    for answer in (client().get("/"), client().get("/", headers={"host": "evil"}), client().get("/nowhere")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_bodies_are_bounded_with_their_length_given_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_BODY", 1000)

    def pieces(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"x" * 100

    assert client().post("/predict", content=b"x" * 1000).json()["bytes"] == 1000
    assert client().post("/predict", content=b"x" * 1001).status_code == 413
    assert client().post("/predict", content=pieces(10)).json()["bytes"] == 1000
    assert client().post("/predict", content=pieces(11)).status_code == 413
    assert client().post("/predict", headers={"content-length": "9" * 40}, content=b"x").status_code == 413
    monkeypatch.setattr(guard, "MAX_BODIES", 500)
    answer = client().post("/predict", content=b"x" * 600)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_bytes_in_progress_are_given_back_after_every_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("failed")

    guarded = Guard(app)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"host", b"localhost"), (b"content-length", b"70")],
    }

    async def call() -> None:
        await guarded(dict(scope), lambda: None, lambda message: None)  # type: ignore[arg-type,return-value]

    with pytest.raises(RuntimeError):
        asyncio.run(call())
    assert guarded.bytes == 0


def test_a_body_that_does_not_arrive_ends_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.01)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    app = Starlette(routes=[Route("/predict", echo, methods=["POST"])])
    app.add_middleware(Guard)
    headers = [(b"host", b"localhost"), (b"content-length", b"70")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408
