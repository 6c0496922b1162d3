"""Embeddings made elsewhere join posts by id, are checked before anything is kept, and serve heads like any others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.cli import run_command
from msa.features.cache import imported_arrays
from msa.features.cache.imported_arrays import ImportedArrays, read_arrays
from msa.features.cache.importing import Imported, import_embeddings
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import reopen
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.store.errors import read_errors
from msa.features.store.store import Store, stored_specs

TEXTS = ["one", "two", "three", "two", None, "six"]
POSTS = Corpus(Path("posts"), "table", [Sample(f"p{n}", None, text) for n, text in enumerate(TEXTS)])


def vectors(count: int = 6, width: int = 4) -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    found[3:4] = found[1:2]
    return found


def import_arrays(cache: Path, arrays: ImportedArrays, **options: Any) -> Imported:
    return import_embeddings(POSTS, cache, arrays, **{"name": "mine", "modality": "text", **options})


def files(folder: Path, ids: str = "p0\np1\np2\np3\np4\np5\n", **arrays: Any) -> dict[str, Path]:
    (folder / "ids.txt").write_text(ids, encoding="utf-8")
    given = {"pooled": vectors()} | arrays
    for name, array in given.items():
        np.save(folder / f"{name}.npy", array)
    return {"ids": folder / "ids.txt"} | {name: folder / f"{name}.npy" for name in given}


def test_every_row_is_accounted_for_and_a_second_import_does_nothing(tmp_path: Path) -> None:
    arrays = ImportedArrays(vectors(5), ["p5", "p4", "p1", "p0", "p3"])
    arrays.pooled[4] = arrays.pooled[2]
    done = import_arrays(tmp_path, arrays)
    assert (done.rows, done.stored, done.cached, done.duplicate, done.other, done.missing) == (5, 3, 0, 1, 1, 1)
    (spec,) = stored_specs(tmp_path)
    assert (spec.name, spec.source, spec.dtype, spec.fingerprint) == ("mine", "import", "float32", done.fingerprint)
    assert [(r.id, r.key, r.reason) for r in read_errors(tmp_path / spec.slug)] == [
        ("p2", text_key("three"), "no embedding was imported")
    ]
    store = Store(tmp_path / spec.slug, spec)
    for positions, rows in store.read([text_key(text) for text in ("six", "two", "one")], tokens=False):
        for position, pooled in zip(positions, rows.pooled, strict=True):
            np.testing.assert_array_equal(pooled, arrays.pooled[[0, 2, 3][position]])
    again = import_arrays(tmp_path, arrays)
    assert (again.stored, again.cached, again.fingerprint) == (0, 3, done.fingerprint)


@pytest.mark.parametrize("change", ["vector", "row order", "format"])
def test_other_embeddings_are_another_encoder(tmp_path: Path, change: str) -> None:
    first = import_arrays(tmp_path / "a", ImportedArrays(vectors(3), ["p0", "p1", "p2"]))
    other = vectors(3)
    other[2, 0] += change == "vector"
    ids = ["p2", "p1", "p0"] if change == "row order" else ["p0", "p1", "p2"]
    second = import_arrays(
        tmp_path / "b", ImportedArrays(other.astype(np.float64) if change == "format" else other, ids)
    )
    assert first.fingerprint != second.fingerprint


def test_one_content_has_one_vector(tmp_path: Path) -> None:
    alike = vectors()
    alike[3] *= 1 + 1e-6
    assert import_arrays(tmp_path / "a", ImportedArrays(alike, [f"p{n}" for n in range(6)])).duplicate == 1
    alike[3] = -alike[3]
    with pytest.raises(ValueError, match="post 'p3' differs from that of post 'p1' of the same content"):
        import_arrays(tmp_path / "b", ImportedArrays(alike, [f"p{n}" for n in range(6)]))
    assert not (tmp_path / "b").exists()


def test_more_rows_join_what_was_imported_before(tmp_path: Path) -> None:
    everything = vectors()
    import_arrays(tmp_path, ImportedArrays(everything[:2], ["p0", "p1"]))
    with pytest.raises(ValueError, match=r"'mine' are in .* already; add rows to them with --append"):
        import_arrays(tmp_path, ImportedArrays(everything[2:3], ["p2"]))
    done = import_arrays(tmp_path, ImportedArrays(everything[1:3], ["p3", "p2"]), append=True)
    assert (done.stored, done.cached, done.missing) == (1, 1, 1)
    (spec,) = stored_specs(tmp_path)
    assert len(Store(tmp_path / spec.slug, spec)) == 3
    for arrays, message in (
        (ImportedArrays(-everything[:1], ["p0"]), "differs from the one imported for it before"),
        (ImportedArrays(vectors(1, 7), ["p5"]), "has width 4"),
        (ImportedArrays(everything[:1], ["p5"], everything[:1], np.array([0, 1])), "give tokens for all rows"),
    ):
        with pytest.raises(ValueError, match=message):
            import_arrays(tmp_path, arrays, append=True)
    with pytest.raises(ValueError, match="no imported text embeddings named 'other'"):
        import_arrays(tmp_path, ImportedArrays(everything[:1], ["p0"]), name="other", append=True)


@pytest.mark.parametrize(
    ("ids", "name", "message"),
    [
        (["p0", "p9"], "mine", "1 of 2 ids belong to no post in posts, such as 'p9'; its ids look like 'p0'"),
        (["p0", "p1"], "minilm", "'minilm' is a name of msa's own"),
        (["p0", "p1"], "none", "'none' is a name of msa's own"),
    ],
)
def test_what_cannot_be_joined_is_refused_and_leaves_nothing(
    tmp_path: Path, ids: list[str], name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        import_arrays(tmp_path / "cache", ImportedArrays(vectors(2), ids), name=name)
    twice = Corpus(Path("posts"), "table", [Sample("p0", None, "one"), Sample("p0", None, "two")])
    with pytest.raises(ValueError, match="'p0' belongs to several posts"):
        import_embeddings(twice, tmp_path / "cache", ImportedArrays(vectors(1), ["p0"]), name="mine", modality="text")
    assert not (tmp_path / "cache").exists()


def spoil(array: np.ndarray, value: float) -> np.ndarray:
    array[1, 1] = value
    return array


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: files(f, "p0\np1\n"), r"pooled\.npy has 6 rows, .*ids\.txt has 2 ids"),
        (lambda f: files(f, "p0\np1\np1\np2\np3\np4\n"), "1 ids are repeated, 'p1' occurs 2 times"),
        (lambda f: files(f, ""), "is empty"),
        (lambda f: files(f, pooled=vectors()[0]), r"got float32 \(4,\)"),
        (lambda f: files(f, pooled=np.ones((6, 4), np.int64)), "of floats; got int64"),
        (lambda f: files(f, pooled=spoil(vectors(), np.nan)), r"pooled.*NaN or infinity .*in row 1, .*of post 'p1'; "),
        (lambda f: files(f, pooled=spoil(vectors().astype(np.float64), 1e300)), "NaN or infinity"),
        (lambda f: files(f, pooled=np.array([["a"]], object)), "not an array of numbers"),
        (lambda f: files(f, tokens=vectors()), "belong together"),
        (lambda f: files(f, tokens=vectors(6, 5), offsets=np.arange(7)), "5 wide"),
        (lambda f: files(f, tokens=vectors(8), offsets=np.arange(7)), "7 rising integers from 0 to 8"),
        (lambda f: files(f, tokens=vectors(), offsets=np.array([0, 2, 1, 3, 4, 5, 6])), "7 rising integers"),
        (lambda f: files(f, tokens=spoil(vectors(), np.inf), offsets=np.arange(7)), r"tokens\.npy: NaN or infinity"),
        (
            lambda f: files(f, tokens=spoil(vectors(), np.inf), offsets=np.array([0, 0, 0, 1, 3, 6, 6])),
            r"tokens\.npy: NaN or infinity .*in row 3, .*of post 'p3'; ",
        ),
    ],
)
def test_files_that_are_not_what_they_should_be_are_named(
    tmp_path: Path, make: Callable[[Path], dict[str, Path]], message: str
) -> None:
    given = make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_arrays(**given)
    assert "\n" not in str(caught.value)


def test_the_row_that_is_not_finite_is_named_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported_arrays, "CHUNK_BYTES", 40)
    array = vectors()
    array[[3, 5]] = np.nan
    with pytest.raises(ValueError, match=r"in row 3, .*of post 'p3'"):
        read_arrays(**files(tmp_path, pooled=array))


@pytest.mark.parametrize("change", ["vectors", "width", "tokens", "format", "source"])
def test_append_is_only_advised_where_it_works(tmp_path: Path, change: str) -> None:
    import_arrays(tmp_path, ImportedArrays(vectors(), [f"p{n}" for n in range(6)]))
    other, posts = vectors(2), ["p4", "p5"]
    if change == "source":
        (spec,) = stored_specs(tmp_path)
        Store.open(tmp_path, replace(spec, source="timm", name="theirs"))
    given = {
        "vectors": ImportedArrays(-other, posts),
        "width": ImportedArrays(vectors(2, 5), posts),
        "tokens": ImportedArrays(other, posts, other, np.arange(3)),
        "format": ImportedArrays(other, posts, other.astype(np.float16), np.arange(3)),
        "source": ImportedArrays(other, posts),
    }[change]
    name = "theirs" if change == "source" else "mine"
    with pytest.raises(ValueError, match=r"already: .*; give another --name$") as refused:
        import_arrays(tmp_path, given, name=name)
    assert "--append" not in str(refused.value)
    with pytest.raises(ValueError, match="--append: "):
        import_arrays(tmp_path, given, name=name, append=True)
    import_arrays(tmp_path, given, name="another")


def test_bytes_that_are_no_array_are_named(tmp_path: Path) -> None:
    given = files(tmp_path)
    for content in (b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04rest", b"\x80\x04pickle"):
        given["pooled"].write_bytes(content)
        with pytest.raises(ValueError, match=r"pooled\.npy: is not an array"):
            read_arrays(**given)
    given = files(tmp_path)
    given["ids"].write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"ids\.txt: is not UTF-8"):
        read_arrays(**given)


def msa(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run_command([*arguments, "--json"])
    message = capsys.readouterr()
    return code, json.loads(message.out) if message.out else None, message.err


def test_a_head_trains_on_it_and_predicts_posts_whose_embeddings_came_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = [["good", "bad", ""][n % 3] for n in range(60)]
    rows = [f"p{n},text number {n},{label}" for n, label in enumerate(labels)]
    (tmp_path / "posts.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    (tmp_path / "more.csv").write_text("id,text,label\nq1,something new,\n")
    centre = np.array([{"good": 1.0, "bad": -1.0, "": 1.0}[label] for label in labels])
    np.save("pooled.npy", centre[:, None] * np.tile([1, -1], 4) + 0.1 * rng.normal(size=(60, 8)))
    np.save("tokens.npy", np.repeat(np.load("pooled.npy"), 2, 0).astype(np.float16))
    np.save("offsets.npy", np.arange(0, 121, 2))
    Path("ids.txt").write_text("".join(f"p{n}\n" for n in range(60)))
    given = ["--pooled", "pooled.npy", "--ids", "ids.txt", "--name", "mine", "--modality", "text"]
    tokens = ["--tokens", "tokens.npy", "--offsets", "offsets.npy"]
    code, found, err = msa(capsys, "cache", "import", "posts.csv", *given, *tokens)
    assert (code, err) == (0, "")
    assert (found["stored"], found["missing"]) == (60, 0)
    assert msa(capsys, "cache", "ls")[1]["encoders"][0]["tokens"] == 120
    quick = ["--image", "none", "--text", "mine", "--fusion", "text", "--lr", "0.01", "--batch-size", "8"]
    code, trained, err = msa(capsys, "train-head", "posts.csv", *quick)
    assert code == 0, err
    assert trained["metrics"]["accuracy"]["mean"] > 0.9
    code, predicted, err = msa(capsys, "predict", "runs", "posts.csv")
    assert code == 0, err
    assert {post["label"] for post in predicted["predictions"]} == {"good"}
    for arguments in (["more.csv"], ["--text", "something new"]):
        code, _, err = msa(capsys, "predict", "runs", *arguments)
        assert code == 2
        assert err.count("\n") == 1
        assert "new posts cannot be embedded here; import their embeddings too" in err
    code, _, err = msa(capsys, "train-head", "more.csv", *quick)
    line = "msa cache import --append --name mine --modality text posts --pooled pooled.npy --ids ids.txt"
    assert f"`{line} --tokens tokens.npy --offsets offsets.npy`" in err
    code, checked, _ = msa(capsys, "cache", "verify", "posts.csv")
    assert code == 0
    assert "was imported" in checked["encoders"][0]["unopened"]
    np.save("pooled.npy", np.tile([[1.0, -1]], 4))
    np.save("tokens.npy", np.tile([[1.0, -1]], 4).astype(np.float16))
    np.save("offsets.npy", np.arange(2))
    Path("ids.txt").write_text("q1")
    assert msa(capsys, "cache", "import", "more.csv", *given, *tokens, "--append")[0] == 0
    assert msa(capsys, "predict", "runs", "more.csv")[1]["predictions"][0]["label"] == "good"


def test_reopening_what_was_imported_fails_in_one_line_when_it_is_to_encode(tmp_path: Path) -> None:
    import_arrays(tmp_path, ImportedArrays(vectors(1), ["p0"]))
    (spec,) = stored_specs(tmp_path)
    source = reopen(spec, tmp_path)
    assert source.specs == (spec,)
    with pytest.raises(ValueError, match="import their embeddings too"):
        source.load(Runtime())
