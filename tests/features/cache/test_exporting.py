"""An export holds each post's own rows, the same in every format, and what comes back by import is what went out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from msa.cli import run_command
from msa.features.cache import exporting
from msa.features.cache.exporting import export_embeddings, pick_spec
from msa.features.cache.imported_arrays import read_arrays
from msa.features.cache.importing import import_embeddings
from msa.features.installation import install_line
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store import parts
from msa.features.store.errors import BadRecord, update_errors
from msa.features.store.header import StoreError
from msa.features.store.store import Store
from msa.features.store.writer import Writer

SPEC = EncoderSpec("owner/words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 3, "float16")
Row = tuple[np.ndarray, np.ndarray]


def row(text: str, spec: EncoderSpec = SPEC) -> Row:
    rng = np.random.default_rng(list(text.encode()))
    pooled = rng.normal(size=3).astype(np.float32)
    return pooled, rng.normal(size=(len(text) % 4, 3)).astype(spec.dtype)


def write(cache: Path, texts: Sequence[str], spec: EncoderSpec = SPEC, *, tokens: bool = True) -> None:
    writer = Writer(Store.open(cache, spec), tokens=tokens)
    for text in texts:
        pooled, words = row(text, spec)
        writer.add(text_key(text), pooled, words if tokens else None)
    writer.flush()


def corpus(texts: Sequence[str | None]) -> Corpus:
    return Corpus(Path("posts"), "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts)])


def stored(cache: Path, spec: EncoderSpec) -> dict[str, Row]:
    store = Store(cache / spec.slug, spec)
    found = {}
    for _, rows in store.read(store.keys, tokens=True):
        assert rows.tokens is not None
        assert rows.offsets is not None
        for at, key in enumerate(rows.keys):
            found[key.decode()] = rows.pooled[at], rows.tokens[rows.offsets[at] : rows.offsets[at + 1]]
    return found


def exported(path: Path, format: str) -> tuple[list[str], list[str] | None, list[Row]]:
    """Keys, ids and rows of an export, read by the format's own library."""
    if format == "npy":
        arrays = {file.stem: np.load(file) for file in path.glob("*.npy")}
        texts = {file.stem: file.read_text().splitlines() for file in path.glob("*.txt")}
    elif format == "safetensors":
        arrays = load_file(path)
        texts = {name: arrays.pop(name).tobytes().decode().splitlines() for name in ("keys", "ids") if name in arrays}
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict()
        pairs = zip(rows["pooled"], rows["tokens"], strict=True)
        return rows["key"], rows.get("id"), [(np.float32(p), np.float16(t).reshape(-1, 3)) for p, t in pairs]
    words = np.split(arrays["tokens"], arrays["offsets"][1:-1])
    return texts["keys"], texts.get("ids"), list(zip(arrays["pooled"], words, strict=True))


@pytest.mark.parametrize(
    ("format", "name"), [("npy", "out"), ("safetensors", "out.safetensors"), ("parquet", "a.parquet")]
)
@pytest.mark.parametrize("posts", [True, False])
def test_every_format_holds_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, name: str, posts: bool
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(parts, "COPY_BYTES", 100)
    monkeypatch.setattr(exporting, "CHUNK_BYTES", 100)
    texts = ["three", None, "one", "three", "", "four teen", "lorem ipsum"]
    write(tmp_path / "cache", ["one", "three"])
    write(tmp_path / "cache", ["four teen", "lorem ipsum", "of other posts"])
    done = export_embeddings(
        tmp_path / "cache", "owner/words", tmp_path / "to" / name, corpus(texts) if posts else None
    )
    keys, ids, rows = exported(done.path, format)
    wanted = ["three", "one", "three", "four teen", "lorem ipsum"]
    if posts:
        assert ids == ["p0", "p2", "p3", "p5", "p6"]
        assert list(done.notes) == ["2 posts without a readable text are left out"]
    else:
        wanted = sorted([*wanted[1:], "of other posts"], key=text_key)
        assert (ids, done.notes) == (None, [])
    assert keys == [text_key(text) for text in wanted]
    assert (done.rows, done.format) == (len(wanted), format)
    for (pooled, words), text in zip(rows, wanted, strict=True):
        np.testing.assert_array_equal(pooled, row(text)[0])
        np.testing.assert_array_equal(words, row(text)[1])
    assert [path.name for path in (tmp_path / "to").iterdir()] == [name]


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.sampled_from([None, "", "a", "bb", "ccc", "dddd", "eeeee"]), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_what_goes_out_and_comes_back_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], order: Any, dtype: Any
) -> None:
    folder = tmp_path_factory.mktemp("round")
    spec = replace(SPEC, dtype=dtype)
    distinct = sorted({text for text in texts if text})
    posts = corpus(texts)
    write(folder / "cache", distinct, spec)
    if not distinct:
        with pytest.raises(ValueError, match="no row to export"):
            export_embeddings(folder / "cache", spec.slug, folder / "out", posts)
        return
    export_embeddings(folder / "cache", spec.slug, folder / "out", posts)
    files = [folder / "out" / name for name in ("pooled.npy", "ids.txt", "tokens.npy", "offsets.npy")]
    shuffled = list(posts.samples)
    order.shuffle(shuffled)
    done = import_embeddings(
        replace(posts, samples=shuffled), folder / "new", read_arrays(*files), name="mine", modality="text"
    )
    assert (done.stored, done.missing, done.other) == (len(distinct), 0, 0)
    assert done.duplicate == done.rows - len(distinct)
    (slug,) = [path.name for path in (folder / "new").iterdir()]
    mine = pick_spec(folder / "new", slug)
    assert (mine.source, mine.dtype, mine.width) == ("import", dtype, 3)
    before, after = stored(folder / "cache", spec), stored(folder / "new", mine)
    assert before.keys() == after.keys()
    for key, (pooled, words) in before.items():
        np.testing.assert_array_equal(pooled, after[key][0])
        np.testing.assert_array_equal(words, after[key][1])


def test_rows_without_tokens_are_exported_pooled_and_said(tmp_path: Path) -> None:
    write(tmp_path, ["one", "two"])
    write(tmp_path, ["three"], tokens=False)
    done = export_embeddings(tmp_path, "owner/words", tmp_path / "out")
    assert done.tokens is None
    assert "1 rows have no tokens" in done.to_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["encoder.json", "keys.txt", "pooled.npy"]
    assert export_embeddings(tmp_path, "owner/words", tmp_path / "plain", tokens=False).notes == []


def test_items_that_were_never_extracted_are_an_error_and_bad_ones_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, ["one"])
    posts = corpus(["one", "two"])
    with pytest.raises(ValueError, match="1 items have no embedding of owner/words; run `msa extract --text"):
        export_embeddings(tmp_path, "owner/words", tmp_path / "out", posts)
    update_errors(tmp_path / SPEC.slug, [], [BadRecord("p1", text_key("two"), "p1", "no known word")])
    assert export_embeddings(tmp_path, "owner/words", tmp_path / "out", posts).rows == 1


def test_a_failed_export_leaves_nothing_and_an_old_one_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cache", ["one"])

    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        for name in ("folder", "a.safetensors"):
            with pytest.raises(OSError, match="No space"):
                export_embeddings(tmp_path / "cache", "owner/words", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    posts = Corpus(tmp_path, "table", [Sample("two\nlines", None, "one")])
    with pytest.raises(ValueError, match="line break"):
        export_embeddings(tmp_path / "cache", "owner/words", tmp_path / "out", posts)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        export_embeddings(tmp_path / "cache", "owner/words", tmp_path / "out")
    (part,) = (tmp_path / "cache" / SPEC.slug).glob("part-*.h5")
    raw = bytearray(part.read_bytes())
    raw[-1] ^= 1
    part.write_bytes(raw)
    with pytest.raises(StoreError, match="checksum"):
        export_embeddings(tmp_path / "cache", "owner/words", tmp_path / "new")


def test_an_encoder_is_named_by_name_folder_or_fingerprint(tmp_path: Path) -> None:
    other = replace(SPEC, clean="social")
    write(tmp_path, ["one"])
    assert pick_spec(tmp_path, "owner/words") == SPEC
    write(tmp_path, ["one"], other)
    assert pick_spec(tmp_path, other.slug) == pick_spec(tmp_path, other.fingerprint) == other
    assert pick_spec(tmp_path, "owner/words") == SPEC
    write(tmp_path, ["one"], replace(SPEC, dtype="float32"))
    with pytest.raises(ValueError, match="in several forms"):
        pick_spec(tmp_path, "owner/words")
    with pytest.raises(ValueError, match=r"`msa cache ls`.*did you mean owner/words"):
        pick_spec(tmp_path, "owner/word")


def test_without_pyarrow_the_line_to_install_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "cache", ["one"])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    arguments = [
        "cache",
        "export",
        "owner/words",
        "--to",
        str(tmp_path / "a.parquet"),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert run_command(arguments) == 2
    message = capsys.readouterr()
    assert message.err == f"msa: pyarrow is not installed: `{install_line('parquet')}`\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
