"""A file system without locks or fsync, or one that cannot be written to: work goes on, or is refused before it."""

from __future__ import annotations

import errno
import os
import shutil
import time
import warnings
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest

from msa.features.cache.maintenance import collect_garbage
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction.extract import extract
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus, Sample
from msa.features.store import durable, locks
from msa.features.store.durable import STALE_SECONDS, in_use, remove_stale_temporaries, require_writable
from msa.features.store.store import Store, stored_specs

fcntl = pytest.importorskip("fcntl")
pytest.importorskip("vaderSentiment")

REQUEST = EncoderRequest((), ("lexicon",), EncoderOptions(local_files_only=True))


def posts(*texts: str) -> Corpus:
    return Corpus(Path("posts"), "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def rows(cache: Path) -> int:
    return sum(len(Store(cache / spec.slug, spec)) for spec in stored_specs(cache))


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK])
@pytest.mark.parametrize("operation", ["flock", "fsync"])
def test_extract_goes_on_without_locks_or_fsync_and_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, code: int
) -> None:
    def lacking(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks, "_warned", set())
    monkeypatch.setattr(fcntl if operation == "flock" else os, operation, lacking)
    with warnings.catch_warnings(record=True, action="always", category=Notice) as found:
        for text in ("good", "bad"):  # the second extraction merges
            extract(posts(text), REQUEST, tmp_path)
    assert rows(tmp_path) == 2
    assert len(found) == 1
    assert f"this file system has no {'locks' if operation == 'flock' else 'fsync'}; " in str(found[0].message)


def test_an_error_of_the_disk_while_flushing_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ValueError, match=r"cannot be written to \(Input/output error\)"):
        extract(posts("good"), REQUEST, tmp_path)


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not locks._lacks_flock(tmp_path / ".lock")


@pytest.mark.parametrize("kind", ["itself", "a circle", "a file", "nothing", "a folder", "a pipe"])
def test_what_is_no_lock_file_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / ".sweep.lock", tmp_path / "other"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "itself" else other)
        if kind != "nothing" and kind != "itself":
            other.symlink_to(path) if kind == "a circle" else other.write_text("text")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"\.sweep\.lock: a lock must be a regular file, .*; delete it") as error:
        locks.lock(path).__enter__()
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before
    shutil.rmtree(path) if kind == "a folder" else path.unlink()  # the remedy
    with locks.lock(path):
        assert path.is_file()


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("msa.features.extraction.embed.embed_missing", work)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_cache_that_cannot_be_written_to_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    extract(posts("good"), REQUEST, tmp_path)
    real = Path.open

    def refuse(path: Path, mode: str = "r", *rest: object, **options: object) -> object:
        if "w" in mode:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, mode, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    forbid_work(monkeypatch)
    extract(posts("good"), REQUEST, tmp_path)  # all is there: nothing has to be written
    with pytest.raises(
        ValueError, match=rf"lexicon-\w+: cannot be written to \({os.strerror(code)}\).* --cache"
    ) as error:
        extract(posts("good", "bad"), REQUEST, tmp_path)
    assert "\n" not in str(error.value)


def test_a_disk_too_small_for_the_vectors_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 100, 100))
    forbid_work(monkeypatch)
    with pytest.raises(ValueError, match=r"at least \S+ MB are needed, 0.0 MB are free"):
        extract(posts(*(f"text {n}" for n in range(20))), REQUEST, tmp_path)


def test_a_cache_that_is_a_file_or_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(ValueError, match=r"file/.*lexicon-\w+: cannot be written to \(.*\); .* --cache"):
            extract(posts("good"), REQUEST, cache)


def test_the_probe_leaves_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_gc_keeps_the_folder_of_an_extract_that_has_published_nothing(tmp_path: Path) -> None:
    kept: Sequence[bool] = []

    def collect(name: str, done: int, total: int) -> None:  # between two writes of the extraction
        for yes in (False, True):
            kept.extend(not entry["removed"] for entry in collect_garbage(tmp_path, [posts("other")], yes=yes).entries)

    report = extract(posts("good", "bad"), REQUEST, tmp_path, progress=collect)
    assert kept == [True, True]
    assert report.encoders[0].encoded == rows(tmp_path) == 2
    assert (tmp_path / stored_specs(tmp_path)[0].slug / "origin.json").exists()
    assert collect_garbage(tmp_path, [posts("other")], yes=True).entries[0]["removed"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_in_use_until_the_work_ends_or_was_killed_an_hour_ago(tmp_path: Path) -> None:
    with in_use([tmp_path, tmp_path / "absent"]):
        assert remove_stale_temporaries(tmp_path)
        (mark,) = tmp_path.iterdir()
        os.utime(mark, (time.time() - STALE_SECONDS - 1,) * 2)
        assert not remove_stale_temporaries(tmp_path)
        assert not mark.exists()
        mark.touch()
    assert not remove_stale_temporaries(tmp_path)


def test_a_rename_waits_for_a_reader_on_windows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusals = Path.replace, iter([True, True, False, False, True])

    def replace(temp: Path, final: Path) -> Path:
        if next(refusals):
            raise PermissionError(13, "open in another program", str(final))
        return real(temp, final)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(durable, "RENAME_SECONDS", 0.0)
    monkeypatch.setattr(durable, "WINDOWS", True)
    durable.write_atomic(tmp_path / "a", b"1")
    durable.write_atomic(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    monkeypatch.setattr(durable, "WINDOWS", False)
    with pytest.raises(PermissionError, match="open in another program"):
        durable.write_atomic(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"2"
