"""A part is checked before it is read: its kind of file, its header, its layout, its numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from msa.features.cache.maintenance import list_cache
from msa.features.cache.verify import check_folder
from msa.features.spec import EncoderSpec
from msa.features.store import header as header_module
from msa.features.store.header import HEADER_BYTES, StoreError, checksum, index_checksum
from msa.features.store.parts import all_finite, open_part, read_part, verify_part
from msa.features.store.store import Store
from msa.features.store.writer import Writer

SPEC = EncoderSpec("made", "text", "transformers", "made", "sha256:0", "last", "mean", "{}", 3, "float16")
ROWS, TOKENS = 4, 6
KEYS = np.array([f"{n:032x}".encode() for n in range(ROWS)])
ARRAYS: dict[str, np.ndarray] = {
    "keys": KEYS,
    "offsets": np.array([0, 2, 2, 5, TOKENS], np.int64),
    "pooled": np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3),
    "tokens": np.ones((TOKENS, 3), np.float16),
}


def make_part(
    path: Path,
    *,
    change: Callable[[h5py.File], None] = lambda file: None,
    begin: str = "pooled",
    lie: dict[str, Any] | None = None,
    **arrays: np.ndarray | None,
) -> Path:
    """A part as msa writes it, with other arrays, a change of the file, or a header that lies; its checksums fit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {name: array for name, array in {**ARRAYS, **arrays}.items() if array is not None}
    with h5py.File(path, "w", userblock_size=HEADER_BYTES, libver="v110") as file:
        file.attrs["spec"] = SPEC.to_json()
        for name in [name for name in given if name != "tokens"]:
            file.create_dataset(name, data=given[name])
        if "tokens" in given:
            file.create_dataset("tokens", data=given["tokens"])
        data = file[begin].id.get_offset()
        change(file)
    fields = {"msa": 3, "rows": ROWS, "bytes": path.stat().st_size, "data": data} | (lie or {})
    whole = isinstance(fields["data"], int) and HEADER_BYTES < fields["data"] < 1 << 40
    index = index_checksum(path, fields["data"]) if whole else 0
    fields = {"index": index, "crc32": checksum(path)} | fields
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with path.open("rb+") as out:
        out.write(text.ljust(HEADER_BYTES, b"\0"))
    return path


def read_all(path: Path) -> np.ndarray:
    part = open_part(path, SPEC)
    return np.concatenate([block.pooled for _, block in read_part(part, np.ones(len(part), bool), tokens=True)])


def replace_by(name: str, make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        made = make(file)
        if made is not None:
            file[name] = made

    return change


def external(file: h5py.File) -> None:
    secret = Path(file.filename).with_name("secret.bin")
    secret.write_bytes(bytes(ROWS * 3 * 4))
    file.create_dataset("pooled", (ROWS, 3), np.float32, external=[(str(secret), 0, ROWS * 3 * 4)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((ROWS, 3), np.float32)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "pooled", (ROWS, 3))
    file.create_virtual_dataset("pooled", layout)


def chunked(file: h5py.File) -> None:
    file.create_dataset("pooled", data=ARRAYS["pooled"], chunks=(2, 3), compression="gzip")


def unwritten(file: h5py.File) -> None:
    file.create_dataset("pooled", (ROWS, 3), np.float32)


def test_a_part_of_the_right_layout_is_read(tmp_path: Path) -> None:
    path = make_part(tmp_path / "part-1.h5")
    np.testing.assert_array_equal(read_all(path), ARRAYS["pooled"])
    verify_part(path)
    bare = make_part(tmp_path / "part-2.h5", offsets=None, tokens=None)
    assert not open_part(bare, SPEC).has_tokens


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"change": replace_by("pooled", external)}, "pooled is in chunks, virtual or in another file"),
        ({"change": replace_by("pooled", virtual)}, "pooled is in chunks, virtual or in another file"),
        ({"change": replace_by("pooled", chunked)}, "pooled is in chunks, virtual or in another file"),
        ({"change": replace_by("pooled", unwritten)}, "pooled lies outside the bytes"),
        ({"change": replace_by("pooled", lambda f: h5py.SoftLink("/keys"))}, "pooled is a link or a group"),
        (
            {"change": replace_by("pooled", lambda f: h5py.ExternalLink("other.h5", "/x"))},
            "pooled is a link or a group",
        ),
        ({"change": replace_by("pooled", lambda f: f.create_group("pooled") and None)}, "pooled is a link or a group"),
        ({"change": lambda f: f.create_group("more") and None}, "holds keys, more, offsets, pooled, tokens"),
        ({"offsets": None}, "holds keys, pooled, tokens"),
        ({"pooled": np.ones((ROWS, 3))}, "pooled is float64"),
        ({"pooled": np.ones((ROWS, 3), ">f4")}, "pooled is >f4"),
        ({"pooled": np.ones((ROWS, 2), np.float32)}, r"pooled is float32 \(4, 2\), wanted float32 \(4, 3\)"),
        ({"pooled": np.ones((ROWS + 1, 3), np.float32)}, r"pooled is float32 \(5, 3\)"),
        ({"tokens": np.ones((TOKENS, 3), np.float32)}, "tokens is float32"),
        ({"tokens": np.ones((TOKENS - 1, 3), np.float16)}, r"tokens is float16 \(5, 3\), wanted float16 \(6, 3\)"),
        ({"keys": np.array([b"k"] * ROWS)}, "keys is |S1"),
        ({"keys": np.array([b"\xff" * 32] * ROWS)}, "keys are not of 32 hex digits"),
        ({"offsets": np.array([0, 2, 1, 5, TOKENS])}, "offsets do not rise from 0"),
        ({"offsets": np.array([1, 2, 2, 5, TOKENS])}, "offsets do not rise from 0"),
        ({"offsets": np.array([0, 2, 2, 5, 1 << 62])}, "wanted float16"),
        ({"offsets": np.array([0, 2, 2, TOKENS])}, r"offsets is int64 \(4,\)"),
        ({"begin": "keys"}, "keys lies outside the bytes"),
        ({"change": lambda f: f.attrs.__setitem__("spec", 7)}, "not a readable part"),
        ({"change": lambda f: f.attrs.__delitem__("spec")}, "not a readable part"),
        ({"change": lambda f: f.attrs.__setitem__("seconds", -1.0)}, "its seconds are -1"),
        ({"change": lambda f: f.attrs.__setitem__("seconds", [1.0, 2.0])}, "not a readable part"),
        ({"lie": {"rows": 3}}, r"wanted \|S32 \(3,\)"),
        ({"lie": {"rows": 10**30}}, "keys is"),
        ({"lie": {"rows": -1}}, "-1 rows from byte"),
        ({"lie": {"data": 10**30}}, "do not fit into"),
        ({"lie": {"data": 3}}, "from byte 3 on do not fit into"),
        ({"lie": {"rows": True}}, "holds other than whole numbers"),
        ({"lie": {"data": 1e300}}, "holds other than whole numbers"),
        ({"lie": {"crc32": None}}, "holds other than whole numbers"),
        ({"lie": {"index": [[[]]]}}, "holds other than whole numbers"),
        ({"lie": {"more": 1}}, "not a part written by msa"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_fault_is_one_line_with_the_file_and_a_remedy(tmp_path: Path, fault: dict[str, Any], message: str) -> None:
    path = make_part(tmp_path / "part-1.h5", **fault)
    with pytest.raises(StoreError, match=message) as error:
        open_part(path, SPEC)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert text.endswith("; delete the file and extract again, or import its rows again")


@pytest.mark.parametrize("name", ["pooled", "tokens"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_read(tmp_path: Path, name: str, number: float) -> None:
    array = ARRAYS[name].copy()
    array[2, 1] = number
    path = make_part(tmp_path / "part-1.h5", **{name: array})
    verify_part(path)
    with pytest.raises(StoreError, match=f"{path.name}: NaN or infinity"):
        read_all(path)


def test_finite_means_the_same_for_every_format() -> None:
    for dtype in (np.float16, np.float32):
        assert all_finite(np.array([np.finfo(dtype).max, np.finfo(dtype).min, -0.0], dtype))
        assert not any(all_finite(np.array([0, bad], dtype)) for bad in (np.nan, -np.nan, np.inf, -np.inf))
    assert all_finite(np.array([255], np.uint8))
    assert all_finite(np.empty(0, np.float16))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "cache", SPEC)
    writer = Writer(made, tokens=True)
    for key in KEYS:
        writer.add(key.decode(), np.ones(3, np.float32), np.ones((2, 3), np.float16))
    writer.flush()
    made.refresh()
    return made


@pytest.mark.parametrize("kind", ["link to nothing", "link to itself", "pipe", "folder"])
def test_what_is_no_regular_file_is_named_and_the_rest_is_listed(store: Store, kind: str) -> None:
    strange = store.folder / "part-00000000000000000002-bbbbbbbb.h5"
    match kind:
        case "link to nothing":
            strange.symlink_to("/nonexistent/part.h5")
        case "link to itself":
            strange.symlink_to(strange.name)
        case "pipe":
            os.mkfifo(strange)
        case "folder":
            strange.mkdir()
    cache = store.folder.parent
    with pytest.raises((StoreError, OSError), match=strange.name):
        Store(store.folder, SPEC)
    assert strange.name in "".join(check_folder(store.folder).damage)
    listed = list_cache(cache)
    assert [entry["rows"] for entry in listed.entries] == [ROWS]
    assert strange.name in listed.to_text()


def test_a_link_to_a_part_on_another_disk_is_a_part(store: Store, tmp_path: Path) -> None:
    (part,) = store.folder.glob("part-*.h5")
    part.rename(tmp_path / "moved.h5")
    part.symlink_to(tmp_path / "moved.h5")
    assert len(Store(store.folder, SPEC)) == ROWS


def test_a_part_that_is_open_elsewhere_is_not_called_damaged(store: Store) -> None:
    (part,) = store.parts
    before = part.path.read_bytes()
    with h5py.File(part.path, "r+"):
        for read in (
            lambda: Store(store.folder, SPEC),
            store.verify,
            lambda: list(store.read(store.keys, tokens=True)),
        ):
            with pytest.raises(StoreError, match="open for writing in another program; close it") as error:
                read()
            assert "delete" not in str(error.value)
    assert part.path.read_bytes() == before
    Store(store.folder, SPEC).verify()


def test_damage_must_be_found_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reading may meet a cable or a cache that lost a bit; the second finds the file whole."""
    right, readings = header_module.checksum, []

    def wrong_once(path: Path) -> str:
        readings.append(path)
        return "0" * 32 if len(readings) == 1 else right(path)

    monkeypatch.setattr(header_module, "checksum", wrong_once)
    store.verify()
    assert len(readings) == 2
    store.verify()
    assert len(readings) == 2, "a part that was compared is not read again"
    os.utime(store.parts[0].path, ns=(0, 0))
    monkeypatch.setattr(header_module, "checksum", lambda path: "0" * 32)
    with pytest.raises(StoreError, match="checksum; delete the file and extract again"):
        store.verify()


def test_an_error_of_the_disk_is_not_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise OSError(5, "Input/output error", str(store.parts[0].path))

    monkeypatch.setattr(h5py, "File", broken)
    with pytest.raises(OSError, match="Input/output error"):
        Store(store.folder, SPEC)


def test_ls_shows_the_healthy_encoders_beside_a_damaged_one(store: Store) -> None:
    cache = store.folder.parent
    for name, text in (("nested", "[" * 100_000), ("list", "[]"), ("width", '{"width": "3"}'), ("null", "null")):
        (cache / name).mkdir()
        (cache / name / "spec.json").write_text(text)
    (cache / "odd").mkdir()
    fields = json.loads((store.folder / "spec.json").read_text())
    (cache / "odd" / "spec.json").write_text(json.dumps(fields | {"dtype": "object"}))
    (part,) = store.folder.glob("part-*.h5")
    (store.folder / "part-9.h5").write_bytes(part.read_bytes()[:-1])
    listed = list_cache(cache)
    assert [(entry["slug"], entry["rows"]) for entry in listed.entries] == [(SPEC.slug, ROWS)]
    for name in ("nested", "list", "width", "null", "odd", "part-9.h5"):
        assert sum(name in fault for fault in listed.facts["faults"]) == 1
