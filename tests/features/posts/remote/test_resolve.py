"""Links become content keys: each is fetched once, failures are asked for again, and copies are kept by content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from odd_server import OddServer, odd_server, picture, watch_connections

from msa.features.blob import content_key
from msa.features.messages import Notice
from msa.features.posts.check import check_corpus
from msa.features.posts.content import hash_corpus
from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.remote import copies, fetch, link_index
from msa.features.posts.remote.copies import Copies, NotKept, Spool
from msa.features.posts.remote.fetch import Known
from msa.features.posts.remote.link import Link, make_link
from msa.features.posts.remote.link_index import LinkIndex
from msa.features.posts.remote.settings import Remote, host_of
from msa.features.posts.samples import Corpus, read_file
from msa.features.spec import BadItem

pytest.importorskip("aiohttp")

OFF = Remote(hosts=("127.0.0.1",), timeout=2.0, connections=4)
ON = replace(OFF, fetch=True)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddServer]:
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    forget_copies(tmp_path / "spool", monkeypatch)
    with odd_server() as found:
        yield found


def forget_copies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A process that begins, with no copies but those of --keep-images."""
    folder.mkdir()
    spool = Spool(folder)
    monkeypatch.setattr(copies, "spool", lambda: spool)
    return spool


def posts(folder: Path, urls: list[str], remote: Remote) -> Corpus:
    lines = ["id,text,image", *(f"p{at},text {at},{url}" for at, url in enumerate(urls))]
    (folder / "posts.csv").write_text("\n".join(lines) + "\n")
    (folder / "cache").mkdir(exist_ok=True)
    return read_corpus(folder / "posts.csv", options=ReadOptions(remote=remote))


def test_nothing_is_fetched_unless_asked(tmp_path: Path, server: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = watch_connections(monkeypatch)
    urls = [
        f"{server.url}/ok/1",
        "https://images.example/2.jpg",
        "s3://shop/3.jpg",
        "file:///etc/passwd",
        "ftp://a.b/c",
    ]
    corpus = posts(tmp_path, urls, OFF)
    assert [isinstance(one.image, Link) for one in corpus.samples] == [True, True, True, False, False]
    refused = "of a kind that is not fetched; http, https, s3, gs, hf are"
    assert sum(refused in str(one) for one in corpus.problems) == 2
    assert any(one.startswith("3 images are links (127.0.0.1:") for one in corpus.notes)
    with pytest.warns(Notice, match="not fetched: 3 links to images; --remote fetches them"):
        report = check_corpus(corpus, tmp_path / "cache")
    assert (report.rows, report.missing_image) == (5, 2)
    assert sum("it is a link that was not fetched; add --remote" in str(one) for one in report.problems) == 3
    assert any(str(one).startswith("https://images.example/2.jpg: it is a link") for one in report.problems)
    assert (outside, server.asked) == ([], {})


def test_each_link_is_fetched_once_and_failures_again(tmp_path: Path, server: OddServer) -> None:
    paths = ["ok/1", "ok/2", "ok/1", "gone", "lie", "ok/1"]
    corpus = posts(tmp_path, [f"{server.url}/{path}" for path in paths], ON)
    one, two = content_key(picture(1)), content_key(picture(2))
    contents = hash_corpus(corpus, tmp_path / "cache")
    assert contents.image_keys == [one, two, one, None, None, one]
    assert {bad.index: bad.reason for bad in contents.bad} == {
        3: "the server answers 404 Not Found",
        4: "a saved web page; download the image again",
    }
    assert server.asked == {"/ok/1": 1, "/ok/2": 1, "/gone": 1, "/lie": 1}
    assert hash_corpus(corpus, tmp_path / "cache") == contents
    assert server.asked == {"/ok/1": 1, "/ok/2": 1, "/gone": 2, "/lie": 2}
    links = [make_link(one.image.url, OFF) for one in corpus.samples if isinstance(one.image, Link)]
    offline = [replace(one, image=link) for one, link in zip(corpus.samples, links, strict=True)]
    with pytest.warns(Notice, match="not fetched: 2 links"):
        without = hash_corpus(replace(corpus, samples=offline), tmp_path / "cache")
    assert without.image_keys == contents.image_keys
    assert sum(server.asked.values()) == 6


def test_a_dry_run_fetches_nothing(tmp_path: Path, server: OddServer) -> None:
    contents = hash_corpus(posts(tmp_path, [f"{server.url}/ok/1"], ON), tmp_path / "cache", update=False)
    assert "was not fetched yet; `msa extract --remote` fetches it" in contents.bad[0].reason
    assert not server.asked


def test_copies_are_kept_by_content_and_asked_about_only_with_rehash(tmp_path: Path, server: OddServer) -> None:
    kept = tmp_path / "kept"
    urls = [f"{server.url}/etag", f"{server.url}/ok/3"]  # the same picture
    corpus = posts(tmp_path, urls, replace(ON, keep=kept))
    key = content_key(picture(3))
    assert hash_corpus(corpus, tmp_path / "cache").image_keys == [key, key]
    assert [file.name for file in kept.rglob("*") if file.is_file() and file.name != link_index.FILE] == [key]
    offline = posts(tmp_path, urls, replace(OFF, keep=kept))
    assert hash_corpus(offline).image_keys == [key, key]  # as the folder alone knows, too
    assert [read_file(one.image, "image") for one in offline.samples if one.image] == [picture(3)] * 2
    hash_corpus(corpus, tmp_path / "cache")
    assert server.asked == {"/etag": 1, "/ok/3": 1}
    hash_corpus(replace(corpus, rehash=True), tmp_path / "cache")
    assert server.asked == {"/etag": 2, "/ok/3": 2}
    server.etag = '"bb"'
    assert hash_corpus(replace(corpus, rehash=True), tmp_path / "cache").image_keys == [content_key(picture(4)), key]
    (kept / key[:2] / key).write_bytes(b"damaged")
    assert isinstance(offline.samples[1].image, Link)
    with pytest.raises(NotKept, match="no copy is kept here"):
        offline.samples[1].image.read(1000)
    assert corpus.samples[1].image
    assert read_file(corpus.samples[1].image, "image") == picture(3)  # fetched again


def test_without_a_folder_copies_last_as_long_as_the_process(
    tmp_path: Path, server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = posts(tmp_path, [f"{server.url}/ok/1", f"{server.url}/ok/2"], ON)
    hash_corpus(corpus, tmp_path / "cache")
    images = [one.image for one in corpus.samples if one.image]
    assert [read_file(one, "image") for one in images] == [picture(1), picture(2)]
    assert sum(server.asked.values()) == 2
    forget_copies(tmp_path / "full", monkeypatch).left = len(picture(1))
    (tmp_path / "cache" / link_index.FILE).unlink()
    hash_corpus(corpus, tmp_path / "cache")
    assert [read_file(one, "image") for one in images] == [picture(1), picture(2)]
    assert server.asked == {"/ok/1": 2, "/ok/2": 3}  # there was room for the first alone


def test_near_copies_of_images_that_are_not_here_are_not_looked_for(
    tmp_path: Path, server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"{server.url}/ok/{at}" for at in range(3)]
    check_corpus(posts(tmp_path, urls, ON), tmp_path / "cache")
    forget_copies(tmp_path / "another", monkeypatch)
    (tmp_path / "cache" / "content-index.sqlite3").unlink()
    with pytest.warns(Notice, match="3 images are links without a copy here"):
        report = check_corpus(posts(tmp_path, urls, OFF), tmp_path / "cache")
    assert not report.problems


@pytest.mark.parametrize("fault", ["damaged", "other format", "a folder"])
def test_an_index_that_cannot_be_used_is_done_without(tmp_path: Path, fault: str) -> None:
    file = tmp_path / link_index.FILE
    if fault == "a folder":
        file.mkdir()
    elif fault == "damaged":
        file.write_bytes(b"no database" * 1000)
    else:
        with LinkIndex(tmp_path) as index:
            index.add("https://a.b/c", Known("key"))
        import sqlite3

        database = sqlite3.connect(file)
        database.execute("PRAGMA user_version = 99")
        database.commit()
        database.close()
    index = LinkIndex(tmp_path)
    with pytest.warns(Notice, match=r"links\.sqlite3 cannot be used .*; delete it, or links are fetched again"):
        assert index.find(["https://a.b/c"]) == {}
    with index:
        index.add("https://a.b/c", Known("key"))


def test_links_are_forgotten_by_content(tmp_path: Path) -> None:
    urls = [f"https://a.b/{number}" for number in range(1200)]
    with LinkIndex(tmp_path) as index:
        for number, url in enumerate(urls):
            index.add(url, Known(str(number % 3), etag="e", modified="m"))
    index = LinkIndex(tmp_path)
    assert index.find(urls)[urls[4]] == Known("1", "e", "m")
    index.forget(["1", "2"])
    assert len(LinkIndex(tmp_path).find(urls)) == 400


def test_a_copy_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Copies(tmp_path)
    key = content_key(b"one")

    def full(self: Path, target: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ValueError, match=r"cannot keep images in .*: No space left on device; name another"):
            kept.add(key, b"one")
    assert kept.read(key) is None
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    kept.add(key, b"one")
    kept.add(key, b"one")
    assert kept.read(key) == b"one"


@pytest.mark.parametrize(
    "cell", ["http://", "http:///x.jpg", "https://a b/c.jpg", "http://[::1/x", "gopher://a/b", "http://a/\u202e"]
)
def test_links_that_are_none_are_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"is no link|is a link of a kind that is not fetched"):
        make_link(cell, OFF)


def test_passwords_are_no_part_of_a_host() -> None:
    assert [host_of(url) for url in ("https://me:secret@a.b:80/c", "s3://shop/1.jpg")] == ["a.b:80", "s3://shop"]
    with pytest.raises(ValueError, match="must be above 0"):
        Remote(timeout=0)


def test_a_cell_of_several_links_and_a_link_with_commas(tmp_path: Path) -> None:
    (tmp_path / "posts.csv").write_text(
        'id,image\n1,"https://a.b/1.jpg,https://a.b/2.jpg"\n2,"https://a.b/x.jpg,y.jpg"\n'
    )
    corpus = read_corpus(tmp_path / "posts.csv", options=ReadOptions(remote=OFF))
    links = [[*map(str, one.images)] for one in corpus.samples]
    assert links == [["https://a.b/1.jpg", "https://a.b/2.jpg"], ["https://a.b/x.jpg,y.jpg"]]
    assert "posts with several images: 1, with 1 images beyond the first" in corpus.notes
    with pytest.raises(BadItem, match="no copy is kept here"):
        read_file(corpus.samples[0].image or tmp_path, "image")
