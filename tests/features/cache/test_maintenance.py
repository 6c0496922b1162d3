"""The cache is listed, merged and cleaned: exactly the rows that a data set uses are kept, in whatever parts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msa.cli import run_command
from msa.features.cache.maintenance import collect_garbage, list_cache, merge_cache
from msa.features.encoders.word_vectors import FITTED_FILE
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Problem, Sample
from msa.features.spec import EncoderSpec
from msa.features.store import store as store_module
from msa.features.store.errors import BadRecord, read_errors, update_errors
from msa.features.store.header import StoreError
from msa.features.store.joined import JOINED
from msa.features.store.store import Store
from msa.features.store.writer import Writer

SPEC = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 3, "float16")


def vector(text: str) -> np.ndarray:
    return np.random.default_rng(list(text.encode())).normal(size=3).astype(np.float32)


def write(cache: Path, texts: list[str], spec: EncoderSpec = SPEC, *, tokens: bool = True) -> Store:
    """One more part, with as many tokens a text as it has letters."""
    store = Store.open(cache, spec)
    writer = Writer(store, tokens=tokens)
    for text in texts:
        writer.add(
            text_key(text), vector(text), np.tile(vector(text), (len(text), 1)).astype(spec.dtype) if tokens else None
        )
    writer.flush()
    store.refresh()
    return store


def corpus(*texts: str | None) -> Corpus:
    return Corpus(Path("posts"), "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def msa(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run_command([*arguments, "--json"])
    message = capsys.readouterr()
    return code, json.loads(message.out) if message.out else None, message.err


def test_ls_counts_rows_once_and_tokens_of_the_rows_that_are_read(tmp_path: Path) -> None:
    write(tmp_path, ["a", "bb", "ccc"])
    store = write(tmp_path, ["ccc", "dddd"])
    update_errors(store.folder, [], [BadRecord("x", "0" * 32, "x", "empty")])
    write(tmp_path, ["a"], replace(SPEC, name="plain"), tokens=False)
    words, plain = sorted(list_cache(tmp_path).entries, key=lambda entry: entry["name"], reverse=True)
    shown = [words[key] for key in ("rows", "tokens", "parts", "bad", "width", "dtype")]
    assert shown == [4, 10, 2, 1, 3, "float16"]
    assert (plain["rows"], plain["tokens"], plain["bad"]) == (1, None, 0)
    assert words["bytes"] == sum(path.stat().st_size for path in store.folder.glob("part-*.h5"))
    assert SPEC.slug in list_cache(tmp_path).to_text()


def test_merge_leaves_one_part_per_store(tmp_path: Path) -> None:
    for text in ("a", "bb", "ccc"):
        write(tmp_path, [text])
    merged = merge_cache(tmp_path).entries
    assert [(m["parts_before"], m["parts_after"]) for m in merged] == [(3, 1)]
    assert len(Store(tmp_path / SPEC.slug, SPEC)) == 3


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.tuples(st.lists(st.integers(0, 12), max_size=6), st.booleans()), max_size=5),
    used=st.sets(st.integers(0, 15)),
    limit=st.sampled_from([0, 1 << 40]),
)
def test_gc_keeps_exactly_the_used_keys_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[list[int], bool]], used: set[int], limit: int
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    Store.open(cache, SPEC)
    for numbers, tokens in parts:
        write(cache, [f"text {n}" for n in numbers], tokens=tokens)
    stored = {n for numbers, _ in parts for n in numbers}
    with_tokens = {n for numbers, tokens in parts if tokens for n in numbers}
    posts = corpus("other", *(f"text {n}" for n in sorted(used)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "MERGE_LIMIT", limit)  # larger parts are cleaned one by one
        before = everything(cache)
        (would,) = collect_garbage(cache, [posts], yes=False).entries
        assert everything(cache) == before
        (did,) = collect_garbage(cache, [posts], yes=True).entries
    assert would | {"bytes": 0} == did | {"bytes": 0}
    assert (did["kept"], did["dropped"]) == (len(stored & used), len(stored - used))
    assert did["removed"] == (not stored & used) == (not (cache / SPEC.slug).exists())
    if stored & used:
        store = Store(cache / SPEC.slug, SPEC)
        assert set(store.keys) == {text_key(f"text {n}") for n in stored & used}
        assert store.find([text_key(f"text {n}") for n in sorted(stored & used)], tokens=True).tolist() == [
            n in with_tokens for n in sorted(stored & used)
        ]
        keys = [text_key(f"text {n}") for n in sorted(stored & used)]
        for positions, rows in store.read(keys, tokens=False):
            for position, pooled in zip(positions, rows.pooled, strict=True):
                np.testing.assert_array_equal(pooled, vector(f"text {sorted(stored & used)[position]}"))
        store.verify()


def test_gc_killed_before_the_old_part_goes_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ["a", "bb", "ccc"])

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".h5":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            collect_garbage(tmp_path, [corpus("a", "bb")], yes=True)
    store = Store(tmp_path / SPEC.slug, SPEC)
    assert len(store.parts) == 2
    assert len(store) == 3
    store.verify()
    assert collect_garbage(tmp_path, [corpus("a", "bb")], yes=True).entries[0]["kept"] == 2
    assert len(Store(tmp_path / SPEC.slug, SPEC).parts) == 1


def test_gc_does_not_rewrite_a_damaged_part(tmp_path: Path) -> None:
    path = write(tmp_path, ["a", "bb"]).parts[0].path
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 4
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="checksum"):
        collect_garbage(tmp_path, [corpus("a")], yes=True)
    assert path.read_bytes() == raw


def test_gc_keeps_what_it_cannot_make_again_and_what_it_does_not_know(tmp_path: Path) -> None:
    fitted, strange, bad = (replace(SPEC, name=name) for name in ("fitted", "strange", "bad"))
    for spec, file in ((fitted, FITTED_FILE), (strange, "notes.txt")):
        (write(tmp_path, ["a"], spec).folder / file).write_bytes(b"mine")
    update_errors(write(tmp_path, ["a"], bad).folder, [], [BadRecord("x", text_key("kept"), "x", "no known word")])
    entries = collect_garbage(tmp_path, [corpus("kept")], yes=True).entries
    assert [(entry["kept"], entry["dropped"], entry["removed"]) for entry in entries] == [(0, 1, False)] * 3
    assert (tmp_path / fitted.slug / FITTED_FILE).read_bytes() == b"mine"
    assert (tmp_path / strange.slug / "notes.txt").exists()
    assert [record.key for record in read_errors(tmp_path / bad.slug)] == [text_key("kept")]


def test_gc_stops_where_it_cannot_see_what_is_used(tmp_path: Path) -> None:
    write(tmp_path / "cache", ["a"])
    unreadable = Corpus(tmp_path, "table", [Sample("p", tmp_path / "gone.jpg", "a")])
    for posts, message in ((unreadable, "1 files cannot be read"), (corpus(), "no posts")):
        with pytest.raises(ValueError, match=message):
            collect_garbage(tmp_path / "cache", [posts], yes=True)
    assert len(Store(tmp_path / "cache" / SPEC.slug, SPEC)) == 1


def test_gc_spares_what_may_lie_on_a_disk_that_is_not_mounted_unless_forced(tmp_path: Path) -> None:
    """An image disk that is away leaves texts, and problems in the reader; a whole one that is away leaves nothing."""
    images = replace(SPEC, name="pictures", modality="image")
    gone = Problem("photos/1.jpg", None, "is missing")
    lost = {
        "neither image nor text": Corpus(tmp_path, "folder", [Sample("1", None, None), Sample("2", None, "a")], [gone]),
        "2 posts": Corpus(tmp_path, "folder", [Sample("1", None, None), Sample("2", None, "")]),
        "the image of no post of .* is found": Corpus(
            tmp_path, "table", [Sample("1", None, "a"), Sample("2", None, "b")], [gone]
        ),
        "files cannot be read": Corpus(tmp_path, "table", [Sample("1", tmp_path / "gone.jpg", "a")]),
    }
    for number, (message, posts) in enumerate(lost.items()):
        cache = tmp_path / str(number)
        write(cache, ["x"], images)
        write(cache, ["a", "b"])
        for yes in (True, False):
            with pytest.raises(ValueError, match=rf"{message}.*--force"):
                collect_garbage(cache, [posts], yes=yes)
        assert len(Store(cache / images.slug, images)) == 1
        report = collect_garbage(cache, [posts], yes=True, force=True)
        assert any(re.search(message, note) for note in report.notes)
        assert not (cache / images.slug).exists()


def test_gc_of_whole_texts_needs_no_force_for_empty_cells_or_problems(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"])
    posts = [Sample("1", None, ""), Sample("2", None, "a")]
    assert collect_garbage(tmp_path, [Corpus(tmp_path, "table", posts)], yes=True).entries[0]["kept"] == 1
    problem = Problem("posts.csv", 3, "no label")
    assert (
        collect_garbage(tmp_path, [Corpus(tmp_path, "table", posts[1:], [problem])], yes=True).entries[0]["kept"] == 1
    )


def test_the_commands_on_posts_that_lie_in_two_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = str(tmp_path / "cache")
    write(tmp_path / "cache", ["one", "two"])
    write(tmp_path / "cache", ["three"])
    for name, text in (("first", "one"), ("second", "two")):
        (tmp_path / f"{name}.csv").write_text(f"id,text\n1,{text}\n")
    tables = [str(tmp_path / "first.csv"), str(tmp_path / "second.csv")]
    assert msa(capsys, "cache", "ls", "--cache", cache)[1]["encoders"][0]["rows"] == 3
    assert msa(capsys, "cache", "merge", "--cache", cache)[1]["encoders"][0]["parts_after"] == 1
    _, would, _ = msa(capsys, "cache", "gc", *tables, "--cache", cache)
    assert (would["done"], would["encoders"][0]["dropped"]) == (False, 1)
    assert msa(capsys, "cache", "gc", *tables, "--cache", cache, "--yes")[1]["encoders"][0]["kept"] == 2
    assert msa(capsys, "cache", "ls", "--cache", cache)[1]["encoders"][0]["rows"] == 2


def test_ls_exits_with_1_beside_damage_and_gc_takes_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    store = write(cache, ["one"])
    (tmp_path / "posts.csv").write_text("id,text,image\n1,,photos/gone.jpg\n")
    collect = ["cache", "gc", str(tmp_path / "posts.csv"), "--cache", str(cache), "--yes"]
    code, _, err = msa(capsys, *collect)
    assert (code, err.count("\n")) == (2, 1)
    assert "--force" in err
    torn = store.folder / "part-00000000000000000001-aaaaaaaa.h5"
    torn.write_bytes(b"torn")
    code, found, _ = msa(capsys, "cache", "ls", "--cache", str(cache))
    assert (code, found["encoders"][0]["rows"]) == (1, 1)
    assert torn.name in found["faults"][0]
    torn.unlink()
    assert msa(capsys, *collect, "--force")[0] == 0
    assert not store.folder.exists()


@pytest.mark.parametrize("command", ["ls", "verify", "merge", "gc", "export"])
def test_an_empty_or_absent_cache_is_said_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "posts.csv").write_text("id,text\n1,one\n")
    (tmp_path / "empty").mkdir()
    given = {"gc": [str(tmp_path / "posts.csv")], "export": ["words", "--to", str(tmp_path / "out")]}
    for name in ("empty", "absent"):
        code, found, err = msa(capsys, "cache", command, *given.get(command, []), "--cache", str(tmp_path / name))
        if command == "ls":
            assert (code, found) == (0, {"encoders": []})
            assert run_command(["cache", "ls", "--cache", str(tmp_path / name)]) == 0
            assert "no embeddings" in capsys.readouterr().out
        else:
            assert (code, found) == (2, None)
            assert err.count("\n") == 1
            assert "no embeddings" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "posts.csv"]


def test_msa_toml_reaches_the_commands_of_the_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "elsewhere", ["one"])
    (tmp_path / "posts.csv").write_text("id,text\n1,one\n")
    (tmp_path / "msa.toml").write_text('data = "posts.csv"\ncache = "elsewhere"\n[cache-verify]\nsample = 0\n')
    monkeypatch.chdir(tmp_path)
    assert msa(capsys, "cache", "ls")[1]["encoders"][0]["rows"] == 1
    assert msa(capsys, "cache", "verify")[1]["sampled"] is False
    code, _, err = msa(capsys, "cache", "gc")
    assert code == 2
    assert "data" in err, "what gc may keep is always message on the command line"
    (tmp_path / "msa.toml").write_text("[cache-verify]\nsamples = 0\n")
    code, _, err = msa(capsys, "cache", "verify")
    assert code == 2
    assert "unknown option of [cache-verify] 'samples'; did you mean sample" in err


def test_joined_features_are_listed_and_deleted_on_request(tmp_path: Path) -> None:
    write(tmp_path, ["one"])
    folder = tmp_path / JOINED / "abc"
    folder.mkdir(parents=True)
    (folder / "pooled.npy").write_bytes(b"x" * 2_000_000)
    assert len(list_cache(tmp_path).entries) == 1
    assert any("2.0 MB joined to posts" in note for note in list_cache(tmp_path).notes)
    assert any("made again" in note for note in collect_garbage(tmp_path, [corpus("one")], yes=False).notes)
    assert folder.exists()
    collect_garbage(tmp_path, [corpus("one")], yes=True)
    assert not list((tmp_path / JOINED).iterdir())
    assert Store.open(tmp_path, SPEC).keys
