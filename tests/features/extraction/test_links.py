"""Extraction of posts whose images are links, from a server that does everything wrong: every row is accounted for."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest
from odd_server import odd_server, watch_connections

from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction.embed import CHANGED
from msa.features.extraction.extract import Extraction, extract
from msa.features.extraction.settings import ExtractSettings
from msa.features.messages import Notice
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.remote import copies, fetch
from msa.features.posts.remote.copies import Spool
from msa.features.posts.remote.settings import Remote

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")

PATHS = [
    *(f"ok/{at % 6}" for at in range(12)),  # six images, each twice
    *("busy/1", "gone", "lie", "drop", "loop", "bomb", "large", "zip", "hang", "drip", "heads", "rubbish"),
    *("to/file:___etc_passwd", "to/http:__169.254.169.254_latest", "to/http:__images.example_1.jpg"),
]
GOOD = 13


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool")
    monkeypatch.setattr(copies, "spool", lambda: spool)


def embed(folder: Path, urls: list[str], remote: Remote) -> Extraction:
    lines = ["id,text,image", *(f"p{at},text {at},{url}" for at, url in enumerate([*urls, ""]))]
    (folder / "posts.csv").write_text("\n".join(lines) + "\n")
    corpus = read_corpus(folder / "posts.csv", options=ReadOptions(remote=remote))
    return extract(corpus, EncoderRequest(("pixels",), ()), folder / "cache", ExtractSettings(device="cpu"))


def counts(found: Extraction) -> dict[str, int]:
    [report] = found.encoders
    parts = ("encoded", "cached", "duplicate", "missing", "bad")
    assert sum(getattr(report, part) for part in parts) == found.rows
    return {part: getattr(report, part) for part in parts}


@pytest.mark.parametrize("keep", [True, False])
def test_every_row_of_an_odd_server_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr("msa.features.posts.content.MAX_MEGABYTES", {"image": 1, "text": 1})
    remote = Remote(True, tmp_path / "kept" if keep else None, ("127.0.0.1",), timeout=1.0, connections=4)
    outside = watch_connections(monkeypatch)
    with odd_server() as server:
        urls, began = [f"{server.url}/{path}" for path in PATHS], time.monotonic()
        first = embed(tmp_path, urls, remote)
        assert time.monotonic() - began < 60
        bad = len(PATHS) - GOOD
        assert counts(first) == {"encoded": 7, "cached": 0, "duplicate": 6, "missing": 1, "bad": bad}
        assert all(server.asked[f"/ok/{at}"] == 1 for at in range(6))
        records = [
            json.loads(line) for line in (Path(first.encoders[0].path) / "errors.jsonl").read_text().splitlines()
        ]
        assert {one["file"] for one in records} == set(urls[GOOD:])
        assert all(one["reason"] for one in records)
        asked = dict(server.asked)
        again = embed(tmp_path, urls, remote)
        assert counts(again) == {"encoded": 0, "cached": 7, "duplicate": 6, "missing": 1, "bad": bad}
        assert all(server.asked[f"/ok/{at}"] == 1 for at in range(6))
        assert server.asked["/gone"] == asked["/gone"] + 1
    assert {*outside} <= {"images.example"}  # a public name: looked up, and nothing more


def test_an_image_that_changes_between_fetching_and_embedding_is_bad_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Remote(True, None, ("127.0.0.1",), timeout=5.0)
    copies.spool().left = 0  # no copies at all
    with odd_server() as server:
        urls = [f"{server.url}/etag"]
        assert counts(embed(tmp_path, urls, remote))["encoded"] == 1
        with sqlite3.connect(tmp_path / "cache" / "links.sqlite3") as index:
            index.execute("UPDATE links SET key = ?", ["0" * 32])
        index.close()
        changed = embed(tmp_path, urls, remote)
        assert counts(changed)["bad"] == 1
        assert CHANGED in (Path(changed.encoders[0].path) / "errors.jsonl").read_text()
        assert counts(embed(tmp_path, urls, remote)) == {
            "encoded": 0,
            "cached": 1,
            "duplicate": 0,
            "missing": 1,
            "bad": 0,
        }


def test_objects_in_storage_and_posts_without_the_right_to_fetch(tmp_path: Path) -> None:
    import fsspec
    from odd_server import picture

    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe({f"/shop/{at}.png": picture(at) for at in range(5)})
    urls = [f"memory://shop/{at}.png" for at in range(6)]
    with pytest.warns(Notice, match="not fetched: 6 links to images; --remote fetches them"):
        assert counts(embed(tmp_path, urls, Remote()))["bad"] == 6
    assert counts(embed(tmp_path, urls, Remote(fetch=True))) == {
        "encoded": 5,
        "cached": 0,
        "duplicate": 0,
        "missing": 1,
        "bad": 1,
    }
    system.store.clear()
    with pytest.warns(Notice, match="not fetched: 1 links"):
        offline = embed(tmp_path, urls, Remote())
    assert counts(offline) == {"encoded": 0, "cached": 5, "duplicate": 0, "missing": 1, "bad": 1}
