"""Parquet and Arrow files: what is read of them, in which order, and what a damaged one says."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from msa.features.posts.containers import columnar
from msa.features.posts.containers.columnar import Cell, Columnar, open_columnar
from msa.features.spec import BadItem

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = 300
RAW = [f"image {row}".encode() for row in range(ROWS)]
STRUCT = [
    None if row % 7 == 3 else {"bytes": None if row % 5 == 4 else RAW[row], "path": f"{row}.jpg"} for row in range(ROWS)
]


def write(file: Path, group: int = 100, **columns: Any) -> Path:
    """A table as Parquet with row groups of this size, or as an Arrow stream."""
    table = pa.table(columns)
    if file.suffix == ".arrow":
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=group)
    else:
        parquet.write_table(table, file, row_group_size=group)
    return file


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_images_are_counted_and_read_in_any_order(tmp_path: Path, suffix: str) -> None:
    columns = {"plain": RAW, "struct": STRUCT, "several": [RAW[row : row + row % 3] for row in range(ROWS)]}
    opened = Columnar(write(tmp_path / f"posts{suffix}", **columns, label=list(range(ROWS))))
    assert opened.images == {"plain", "struct", "several"}
    assert opened.count_images("plain").tolist() == [1] * ROWS
    assert opened.count_images("struct").tolist() == [int(bool(one and one["bytes"])) for one in STRUCT]
    assert opened.count_images("several").tolist() == [len(one) for one in columns["several"]]
    for row in (0, 299, 5, 4, 150, 151, 149, 0, 100, 99):
        assert opened.read("plain", row) == RAW[row]
        assert opened.read("struct", row) == (STRUCT[row] or {}).get("bytes")
        assert opened.read("several", row) == (RAW[row] if row % 3 else None)
    rows = [(count, batch["label"], batch["struct"]) for count, batch in opened.batches(["label", "struct"])]
    assert [label for _, labels, _ in rows for label in labels] == list(range(ROWS))
    assert [path for *_, paths in rows for path in paths] == [one and one["path"] for one in STRUCT]


def test_rows_in_order_are_read_from_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Columnar(write(tmp_path / "posts.parquet", image=RAW))
    streams: list[int] = []
    stream = Columnar._stream

    def counted(self: Columnar, column: str, group: int, *, one_group: bool = False) -> Any:
        streams.append(group)
        return stream(self, column, group, one_group=one_group)

    monkeypatch.setattr(Columnar, "_stream", counted)
    order = [row ^ 3 for row in range(ROWS)]  # as several threads read: not quite in order
    assert [opened.read("image", row) for row in order] == [RAW[row] for row in order]
    assert streams == [0]
    opened.read("image", 250)
    opened.read("image", 120)
    assert streams == [0, 1]  # the second row group alone


def test_no_image_is_read_where_the_statistics_tell_that_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Columnar(write(tmp_path / "posts.parquet", image=[{"bytes": one, "path": None} for one in RAW]))
    monkeypatch.setattr(Columnar, "_stream", None)
    assert opened.count_images("image").sum() == ROWS


def test_a_cell_names_its_row_and_survives_a_copy_to_another_process(tmp_path: Path) -> None:
    file = write(tmp_path / "posts.parquet", image=RAW)
    cell = pickle.loads(pickle.dumps(Cell(file, "image", 2)))
    assert (cell.name, cell.file, cell.read(100)) == ("posts.parquet:3", file, RAW[2])
    assert len({cell, Cell(file, "image", 2), Cell(file, "image", 3)}) == 2


def test_a_file_that_is_written_again_is_opened_again(tmp_path: Path) -> None:
    file = write(tmp_path / "posts.parquet", image=RAW)
    cell = Cell(file, "image", 1)
    assert cell.read(100) == RAW[1]
    write(file, image=RAW[::-1])
    os.utime(file, (0, 0))
    assert cell.read(100) == RAW[-2]
    write(file, image=[None, None, b""])
    with pytest.raises(BadItem, match="no image in row 2"):
        cell.read(100)
    file.unlink()
    with pytest.raises(BadItem, match=r"unreadable: cannot read .*posts\.parquet"):
        cell.read(100)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"posts{suffix}", image=RAW)
    whole = file.read_bytes()
    for raw in (b"", b"PAR1", whole[: len(whole) // 2]):
        file.write_bytes(raw)
        with pytest.raises(ValueError, match=rf"cannot read .*posts\{suffix}: [^\n]*; write the file again"):
            open_columnar(file)
    if suffix == ".parquet":  # whole but for the pages of images
        damaged = bytearray(whole)
        damaged[8:2000] = bytes(1992)
        file.write_bytes(damaged)
        with pytest.raises(BadItem, match="unreadable: "):
            Cell(file, "image", 0).read(100)


def test_few_files_stay_open() -> None:
    assert columnar._open.cache_info().maxsize == columnar.OPEN


@pytest.mark.parametrize("group", [50, 6000])
def test_no_more_than_a_few_batches_are_in_memory(tmp_path: Path, group: int) -> None:
    size, rows = 4000, 6000  # pyarrow writes pages of 1024 rows
    images = [os.urandom(size) for _ in range(rows)]
    opened = Columnar(write(tmp_path / "posts.parquet", group, image=images))
    before, peak = pa.total_allocated_bytes(), 0
    for row in range(rows):
        assert opened.read("image", row) == images[row]
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < rows * size / 2
