"""The store keeps every row, finds it by key, refuses foreign and damaged parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msa.features.spec import EncoderSpec
from msa.features.store import parts, store
from msa.features.store.header import StoreError
from msa.features.store.store import Store, stored_specs
from msa.features.store.writer import Writer

SPEC = EncoderSpec("fake", "text", "transformers", "fake", "sha256:0", "last", "mean", "{}", 3, "float32")


def vector(key: str) -> np.ndarray:
    return np.random.default_rng(int(key, 16)).normal(size=3).astype(np.float32)


def words(key: str) -> np.ndarray:
    rng = np.random.default_rng(int(key, 16) + 1)
    return rng.normal(size=(int(key, 16) % 5, 3)).astype(np.float32)


def key(number: int) -> str:
    return f"{number:032x}"


def write(cache: Path, numbers: list[int], *, tokens: bool = True) -> Store:
    opened = Store.open(cache, SPEC)
    writer = Writer(opened, tokens=tokens)
    for number in numbers:
        writer.add(key(number), vector(key(number)), words(key(number)) if tokens else None)
    writer.flush()
    opened.refresh()
    return opened


def contents(opened: Store, keys: list[str], *, tokens: bool = True) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    found = {}
    for positions, rows in opened.read(keys, tokens=tokens):
        for at, position in enumerate(positions):
            assert rows.keys[at].decode() == keys[position]
            item = None
            if rows.tokens is not None and rows.offsets is not None:
                item = rows.tokens[rows.offsets[at] : rows.offsets[at + 1]]
            found[keys[position]] = (rows.pooled[at], item)
    return found


def assert_whole(opened: Store, keys: list[str]) -> None:
    found = contents(opened, keys)
    assert set(found) == set(keys)
    for name, (pooled, tokens) in found.items():
        np.testing.assert_array_equal(pooled, vector(name))
        np.testing.assert_array_equal(tokens, words(name))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=5), data=st.data(), merge=st.booleans())
def test_whatever_is_written_is_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], data: st.DataObject, merge: bool
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    opened = Store.open(cache, SPEC)
    for batch in batches:
        opened = write(cache, batch)
    if merge:
        opened.merge()
        assert len(opened.parts) <= 1
    everything = sorted({number for batch in batches for number in batch})
    assert len(opened) == len(everything)
    wanted = [key(n) for n in data.draw(st.permutations(everything))]
    assert_whole(opened, wanted[: data.draw(st.integers(0, len(wanted)))])
    assert opened.find([key(n) for n in range(41)]).tolist() == [n in everything for n in range(41)]
    opened.verify()


def test_blocks_are_bounded_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "COPY_BYTES", 100)
    opened = write(tmp_path, list(range(50)))
    opened = write(tmp_path, list(range(50, 60)))
    opened.merge()
    blocks = list(opened.read([key(n) for n in range(60)], tokens=True))
    assert len(blocks) > 5
    assert_whole(opened, [key(n) for n in reversed(range(60))])


def test_pooled_only_rows_do_not_pass_for_tokens_and_are_replaced_by_them(tmp_path: Path) -> None:
    opened = write(tmp_path, [1, 2, 3], tokens=False)
    names = [key(n) for n in (1, 2, 3)]
    assert opened.find(names).all()
    assert not opened.find(names, tokens=True).any()
    with pytest.raises(StoreError, match="3 of 3 items are not cached with tokens"):
        list(opened.read(names, tokens=True))
    opened = write(tmp_path, [2, 3])
    opened.merge()
    assert opened.find(names, tokens=True).tolist() == [False, True, True]
    assert sorted(len(part) for part in opened.parts) == [1, 2]
    assert set(contents(opened, names, tokens=False)) == set(names)


def test_two_encoders_never_share_a_folder_and_a_moved_part_is_refused(tmp_path: Path) -> None:
    other = replace(SPEC, clean="social")
    opened = write(tmp_path, [1])
    assert Store.open(tmp_path, other).folder != opened.folder
    (tmp_path / other.slug / opened.parts[0].path.name).write_bytes(opened.parts[0].path.read_bytes())
    with pytest.raises(StoreError, match="written by encoder 'fake'"):
        Store.open(tmp_path, other)


@pytest.mark.parametrize("field", [name for name in SPEC.__dataclass_fields__ if name not in ("modality", "source")])
def test_every_field_of_the_spec_changes_the_fingerprint(field: str) -> None:
    value = {"width": 4, "max_length": 7, "dtype": "float16"}.get(field, "other")
    changed: EncoderSpec = replace(SPEC, **{field: value})
    assert changed.fingerprint != SPEC.fingerprint
    assert EncoderSpec.from_json(changed.to_json()) == changed


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, [5, 6]).parts[0].path
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*range(0, 200, 7), 511, 512, *rng.integers(512, len(whole), 60).tolist()]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(StoreError):
            Store.open(tmp_path, SPEC).verify()
    path.write_bytes(whole)
    Store.open(tmp_path, SPEC).verify()


def test_a_torn_part_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, [5, 6]).parts[0].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=path.name):
        Store.open(tmp_path, SPEC)


def test_a_part_opens_with_plain_h5py(tmp_path: Path) -> None:
    path = write(tmp_path, [5, 6]).parts[0].path
    with h5py.File(path) as file:
        assert file["pooled"].shape == (2, 3)
        assert file["offsets"][-1] == len(file["tokens"])
        assert file["keys"][0].decode() == key(5)
        assert EncoderSpec.from_json(file.attrs["spec"]) == SPEC


def test_a_failed_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write(tmp_path, [1])
    monkeypatch.setattr(parts, "publish", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, [2])
    monkeypatch.undo()
    opened = Store.open(tmp_path, SPEC)
    assert opened.find([key(1), key(2)]).tolist() == [True, False]
    assert not list(opened.folder.glob(".*.tmp"))


def test_a_merge_killed_before_it_deletes_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [1, 2])
    opened = write(tmp_path, [3])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            opened.merge()
    opened = Store.open(tmp_path, SPEC)
    assert len(opened.parts) == 3
    assert len(opened) == 3
    opened.merge()
    assert len(opened.parts) == 1
    assert_whole(opened, [key(n) for n in (3, 1, 2)])


def test_a_merge_does_not_give_damage_a_fresh_checksum(tmp_path: Path) -> None:
    opened = write(tmp_path, [1, 2])
    path = opened.parts[0].path
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 4
    path.write_bytes(raw)
    opened = write(tmp_path, [3])
    with pytest.raises(StoreError, match=path.name):
        opened.merge()
    assert len(list(opened.folder.glob("part-*.h5"))) == 2


def test_large_parts_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, list(range(200)))
    write(tmp_path, [300])
    opened = write(tmp_path, [301])
    monkeypatch.setattr(store, "MERGE_LIMIT", sum(part.bytes for part in opened.parts if len(part) == 1))
    opened.merge()
    assert sorted(len(part) for part in opened.parts) == [2, 200]


def test_compacting_merges_the_parts_that_are_smaller_than_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for numbers in (list(range(200)), [300], [301]):
        opened = write(tmp_path, numbers)
    monkeypatch.setattr(store, "FLUSH_BYTES", max(part.bytes for part in opened.parts))
    opened.compact()
    assert sorted(len(part) for part in opened.parts) == [2, 200]
    assert_whole(opened, [key(n) for n in (*range(200), 300, 301)])
    write(tmp_path, [7, 300])  # of another process: rows that are there already
    opened.compact()
    assert [len(part) for part in opened.parts] == [202]
    assert_whole(opened, [key(n) for n in (*range(200), 300, 301)])


def test_stored_specs_lists_what_is_there_and_names_a_bad_folder(tmp_path: Path) -> None:
    write(tmp_path, [1])
    assert stored_specs(tmp_path) == [SPEC]
    (tmp_path / SPEC.slug / "spec.json").write_text(replace(SPEC, width=9).to_json())
    with pytest.raises(StoreError, match=SPEC.slug):
        stored_specs(tmp_path)


def test_what_extracting_took_stays_with_the_rows(tmp_path: Path) -> None:
    opened = Store.open(tmp_path, SPEC)
    for numbers, seconds in (([1, 2], 0.5), ([3, 4, 5, 6], 2.0)):
        writer = Writer(opened, tokens=True)
        for number in numbers:
            writer.add(key(number), vector(key(number)), words(key(number)), seconds=seconds)
        writer.flush()
    opened.refresh()
    assert opened.seconds([key(1), key(2), key(3)]) == pytest.approx(3.0)
    opened.merge(used=[key(n) for n in (1, 3, 4, 5, 6)])
    assert len(opened.parts) == 1
    assert opened.seconds(opened.keys) == pytest.approx(8.5)
    assert opened.seconds([]) == 0.0


def test_parts_that_do_not_say_what_they_took_are_read_and_of_unknown_cost(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    opened = Store.open(tmp_path, SPEC)
    writer = Writer(opened, tokens=True)
    writer.add(key(3), vector(key(3)), words(key(3)), seconds=1.0)
    writer.flush()
    opened.refresh()
    assert opened.seconds([key(3)]) == 1.0
    assert np.isnan(opened.seconds([key(1), key(3)]))
    opened.merge()
    assert_whole(opened, [key(1), key(2), key(3)])
    assert np.isnan(opened.seconds([key(3)]))
    (part,) = opened.parts
    with h5py.File(part.path) as file:
        assert set(file.attrs) == {"spec", "rows"}


def test_a_folder_that_may_not_be_listed_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, [1]).folder
    real = os.listdir, os.scandir

    def refuse(list_: Callable[..., Any]) -> Callable[..., Any]:
        def listing(path: Any = ".") -> Any:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return list_(path)

        return listing

    monkeypatch.setattr(os, "listdir", refuse(real[0]))
    monkeypatch.setattr(os, "scandir", refuse(real[1]))
    with pytest.raises(PermissionError, match=folder.name):
        Store(folder, SPEC)
    assert len(Store(tmp_path / "absent", SPEC)) == 0
