"""Stored files carry a format version: another one is refused in one line with a remedy, none at all is the first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from msa.features.encoders.sources import reopen
from msa.features.encoders.tuned import RECORD, TunedRecord, read_record
from msa.features.spec import EncoderSpec
from msa.features.store.errors import BadRecord, read_errors, update_errors
from msa.features.store.header import FORMAT, HEADER_BYTES
from msa.features.store.json_files import load_json, read_json, write_json
from msa.features.store.store import Store, read_spec, stored_specs
from msa.features.store.writer import Writer

SPEC = EncoderSpec("fake", "text", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float32")
RECORD_OF = TunedRecord("base", "text", "0123", None, 0, 0, ("a", "b"), ("k1",), ("k2",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an encoder with one row, one bad item, an origin and a record."""
    store = Store.open(tmp_path, SPEC)
    writer = Writer(store, tokens=False)
    writer.add("0" * 32, np.ones(4, np.float32), None)
    writer.flush()
    update_errors(store.folder, set(), [BadRecord("p1", None, "1.txt", "unreadable")])
    write_json(store.folder / "origin.json", {"name": "fake", "weights": None})
    (store.folder / RECORD).write_text(RECORD_OF.to_json())
    return store.folder


READERS: dict[str, Callable[[Path], object]] = {
    "spec.json": read_spec,
    "errors.jsonl": read_errors,
    "origin.json": lambda folder: reopen(SPEC, folder.parent),
    RECORD: read_record,
}


@pytest.mark.parametrize("name", READERS)
def test_a_note_of_another_format_is_refused(folder: Path, name: str) -> None:
    note = folder / name
    fields = json.loads(note.read_text())
    assert fields["format"] == 1
    note.write_text(json.dumps(fields | {"format": 2}))
    with pytest.raises(ValueError, match=f"{re.escape(str(note))}: .*format 2, but this msa reads format 1.*; .*again"):
        READERS[name](folder)


@pytest.mark.parametrize("name", [name for name in READERS if name != "origin.json"])
def test_a_note_without_a_version_is_read(folder: Path, name: str) -> None:
    note = folder / name
    before = READERS[name](folder)
    note.write_text(json.dumps(load_json(note.read_text())))
    assert READERS[name](folder) == before
    assert read_record(folder).digest == RECORD_OF.digest


@pytest.mark.parametrize("target", ["itself", "nothing"])
@pytest.mark.parametrize("name", ["errors.jsonl", "origin.json"])
def test_a_note_that_is_a_link_to_nowhere_is_not_an_absent_one(folder: Path, name: str, target: str) -> None:
    note = folder / name
    note.unlink()
    note.symlink_to(name if target == "itself" else "absent")
    reason = "a link that leads to itself" if target == "itself" else "No such file"
    with pytest.raises(ValueError, match=rf"{re.escape(str(note))}: .*{reason}.*; .*run `msa extract`") as error:
        READERS[name](folder)
    assert "\n" not in str(error.value)


def test_a_store_whose_spec_is_a_link_to_itself_is_not_an_absent_one(folder: Path) -> None:
    note = folder / "spec.json"
    note.unlink()
    note.symlink_to("spec.json")
    faults: list[str] = []
    assert stored_specs(folder.parent, faults) == []
    assert len(faults) == 1
    assert f"{note}: not a spec of this msa (it is a link that leads to itself)" in faults[0]


def test_a_part_of_another_format_is_refused(folder: Path) -> None:
    (part,) = folder.glob("part-*.h5")
    whole = part.read_bytes()
    header = whole[:HEADER_BYTES].replace(f'"msa":{FORMAT}'.encode(), b'"msa":9')
    part.write_bytes(header + whole[HEADER_BYTES:])
    with pytest.raises(ValueError, match=f"{part.name}: .*format 9, but this msa reads format {FORMAT}.*extract again"):
        Store(folder, SPEC)


def test_an_equal_note_is_not_written_again(folder: Path) -> None:
    note = folder / "origin.json"
    note.write_text('{"weights": null, "name": "fake"}')
    write_json(note, {"name": "fake", "weights": None})
    assert "format" not in note.read_text()
    write_json(note, {"name": "other", "weights": None})
    assert json.loads(note.read_text()) == {"format": 1, "name": "other", "weights": None}


def test_a_file_without_a_field_that_it_must_have_is_refused_in_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "split.json", {"folds": []})
    assert read_json(tmp_path / "split.json", "a split", "train again") == {"folds": []}
    with pytest.raises(ValueError, match=r"split\.json: not a split \('keys' is missing\); train again"):
        read_json(tmp_path / "split.json", "a split", "train again", keys=dict)
