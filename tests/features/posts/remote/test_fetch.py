"""Links are fetched within limits of time, size, redirections and addresses, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from odd_server import OddServer, odd_server, picture, watch_connections

from msa.features.posts.remote import fetch as fetching
from msa.features.posts.remote.addresses import is_public
from msa.features.posts.remote.fetch import Fetched, Hosts, Known, fetch, fetch_all
from msa.features.posts.remote.settings import Remote
from msa.features.spec import BadItem

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")

LIMIT = 100_000
QUICK = Remote(fetch=True, hosts=("127.0.0.1",), timeout=1.0, connections=8)
FAULTS = {
    "lie": None,  # that is for whoever looks at the content
    "zip": None,
    "gone": "the server answers 404 Not Found",
    "drop": "not fetched: the connection failed: ",
    "loop": "redirected more than 5 times",
    "to/file:___etc_passwd": "leads to 'file:///etc/passwd', which is not fetched: only http and https are",
    "to/ftp:__127.0.0.1_x": "leads to 'ftp://127.0.0.1/x', which is not fetched",
    "to/http:__169.254.169.254_latest": "169.254.169.254 is a private address",
    "to/http:__[::1]:1_x": "::1 is a private address",
    "to/http:__10.0.0.1_x": "10.0.0.1 is a private address",
    "to/http:__localhost_x": "localhost is a private address",
    "to/http:__inside.example_x": "is a private address",
    "hang": "not all of it came within 1 s",
    "drip": "not all of it came within 1 s",
    "heads": "not fetched: ",
    "rubbish": "not fetched: the connection failed: ",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSE", 0.01)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[OddServer]:
    with odd_server() as found:
        yield found


def unknown(server: OddServer, *paths: str) -> list[tuple[str, Known | None]]:
    return [(f"{server.url}/{path}", None) for path in paths]


@pytest.mark.parametrize("path", FAULTS)
def test_every_fault_ends_within_the_timeout_and_reaches_no_other_host(
    server: OddServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    outside, began = watch_connections(monkeypatch), time.monotonic()
    if FAULTS[path] is None:
        assert fetch(f"{server.url}/{path}", QUICK, limit=LIMIT).content
    else:
        with pytest.raises(BadItem) as error:
            fetch(f"{server.url}/{path}", QUICK, limit=LIMIT)
        assert FAULTS[path] in str(error.value)
    assert time.monotonic() - began < 10  # of a timeout of 1 s, on a machine that is busy
    assert outside == []


@pytest.mark.parametrize("path", ["bomb", "large"])
def test_no_more_than_the_limit_is_taken(server: OddServer, path: str) -> None:
    found = fetch(f"{server.url}/{path}", QUICK, limit=LIMIT)
    assert found.content is not None
    assert len(found.content) == LIMIT + 1


def test_busy_servers_are_asked_again_and_others_are_not(server: OddServer) -> None:
    assert fetch(f"{server.url}/busy/1", QUICK, limit=LIMIT).content == picture(50)
    for path in ("/gone", "/loop"):
        with pytest.raises(BadItem):
            fetch(f"{server.url}{path}", QUICK, limit=LIMIT)
    assert server.asked == {"/busy/1": 3, "/gone": 1, "/loop": 6}


def test_what_has_not_changed_is_not_sent_again(server: OddServer) -> None:
    url = f"{server.url}/etag"
    first = fetch(url, QUICK, limit=LIMIT)
    assert (first.etag, first.content) == ('"a"', picture(3))
    known = Known("key", first.etag, first.modified)
    assert fetch(url, QUICK, limit=LIMIT, known=known) == Fetched(None)
    server.etag = '"bb"'
    assert fetch(url, QUICK, limit=LIMIT, known=known).content == picture(4)


def test_private_addresses_are_refused_unless_allowed(server: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = Remote(fetch=True, timeout=1.0)
    outside = watch_connections(monkeypatch)
    port = server.server_address[1]
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "inside.example", "2130706433"):
        with pytest.raises(BadItem):
            fetch(f"http://{host}:{port}/ok/1", strict, limit=LIMIT)
    assert not server.asked
    assert {*outside} <= {"2130706433"}  # which is a name to some resolvers, and an address to others
    with pytest.raises(BadItem, match=r"127\.0\.0\.1 is a private address.*; --allow-host 127\.0\.0\.1 allows it"):
        fetch(f"{server.url}/ok/1", strict, limit=LIMIT)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((one, True) for one in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808")),
        *((one, False) for one in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0")),
        *(
            (one, False)
            for one in ("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1")
        ),
        *((one, False) for one in ("fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::")),
    ],
)
def test_addresses_of_private_networks_are_known(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_a_host_that_never_answers_is_soon_left_alone(server: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "HOPELESS", 3)
    links = unknown(server, *("gone" if at % 5 == 4 else f"ok/{at}" for at in range(40)))
    found = list(fetch_all(links, QUICK, limit=LIMIT))
    assert [url for url, _ in found] == [url for url, _ in links]
    contents = [one.content if isinstance(one, Fetched) else None for _, one in found]
    assert contents == [None if at % 5 == 4 else picture(at) for at in range(40)]


def test_objects_of_a_memory_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe({"/shop/1.png": picture(1), "/shop/large": bytes(LIMIT + 10), "/shop/empty": b""})
    first = fetch("memory://shop/1.png", QUICK, limit=LIMIT)
    assert first.content == picture(1)
    assert fetch("memory://shop/1.png", QUICK, limit=LIMIT, known=Known("key", first.etag)).content is None
    assert fetch("memory://shop/empty", QUICK, limit=LIMIT).content == b""
    found = fetch("memory://shop/large", QUICK, limit=LIMIT)
    assert len(found.content or b"") == LIMIT + 1
    for url in ("memory://shop/2.png", "memory://shop", "memory://shop/1.png::file:///etc/passwd"):
        with pytest.raises(BadItem):
            fetch(url, QUICK, limit=LIMIT)

    def hang(*arguments: Any, **options: Any) -> None:
        time.sleep(3)

    monkeypatch.setattr(type(system), "info", hang)
    began = time.monotonic()
    with pytest.raises(BadItem, match=r"not all of it came within 0\.2 s"):
        fetch("memory://shop/1.png", Remote(True, timeout=0.2), limit=LIMIT)
    assert time.monotonic() - began < 2.5
    system.store.clear()


def test_hosts_are_forgiven_when_they_answer() -> None:
    hosts = Hosts()
    for _ in range(fetching.HOPELESS - 1):
        hosts.note("a.org", answered=False)
    hosts.check("a.org")
    hosts.note("a.org", answered=True)
    hosts.note("a.org", answered=False)
    hosts.check("a.org")
