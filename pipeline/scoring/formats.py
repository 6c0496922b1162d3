"""The formats of a file of predictions: a block of posts as bytes, and the blocks joined, one in memory at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...features.csv_text import BOM, class_columns, to_csv
from ...features.installation import install_line
from ..predict import Predictions
from ..runs.runs import rounded

COLUMNS = ("id", "label")  # before one probability per class


@dataclass(frozen=True)
class Format:
    """How predictions are written: `encode` gives the bytes of a block, `join` writes blocks with their classes."""

    encode: Callable[[Predictions], bytes]
    join: Callable[[Sequence[Path], Sequence[str], BinaryIO], None]


def pick_format(out: Path) -> Format:
    """The format that a file's ending names. Raises ValueError where its package is missing."""
    if out.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401 (to fail before the work where it is missing)
        except ImportError as error:
            raise ValueError(f"--out {out} needs pyarrow, which is missing: `{install_line('parquet')}`") from error
    return FORMATS[out.suffix]


def _to_csv(predictions: Predictions) -> bytes:
    """The lines of a block without the header."""
    header = _header(predictions.classes)
    text, head = (to_csv(header, rows).removeprefix(BOM) for rows in (_rows(predictions), ()))
    return text[len(head) :].encode()


def _join_csv(blocks: Sequence[Path], classes: Sequence[str], out: BinaryIO) -> None:
    """With a byte order mark where anything is not ASCII, as in all CSV files of msa."""
    head = to_csv(_header(classes), ()).removeprefix(BOM).encode()
    if not (head.isascii() and all(block.read_bytes().isascii() for block in blocks)):
        out.write(BOM.encode())
    out.write(head)
    for block in blocks:
        out.write(block.read_bytes())


def _to_jsonl(predictions: Predictions) -> bytes:
    header = _header(predictions.classes)
    lines = (dict(zip(header, row, strict=True)) for row in _rows(predictions))
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _join_jsonl(blocks: Sequence[Path], classes: Sequence[str], out: BinaryIO) -> None:
    for block in blocks:
        out.write(block.read_bytes())


def _to_parquet(predictions: Predictions) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns: list[Any] = [predictions.ids, predictions.labels, *predictions.probabilities.T.round(6)]
    content = io.BytesIO()
    names = _header(predictions.classes)
    parquet.write_table(pa.table(dict(zip(names, map(pa.array, columns), strict=True))), content)
    return content.getvalue()


def _join_parquet(blocks: Sequence[Path], classes: Sequence[str], out: BinaryIO) -> None:
    """One row group per block."""
    from pyarrow import parquet

    writer = None
    try:
        for block in blocks:
            table = parquet.read_table(block)
            writer = writer or parquet.ParquetWriter(out, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _header(classes: Sequence[str]) -> list[str]:
    return [*COLUMNS, *class_columns(COLUMNS, classes)]


def _rows(predictions: Predictions) -> Iterable[Sequence[object]]:
    for name, label, row in zip(predictions.ids, predictions.labels, predictions.probabilities, strict=True):
        yield [name, label, *rounded(row)]


FORMATS = {
    ".csv": Format(_to_csv, _join_csv),
    ".jsonl": Format(_to_jsonl, _join_jsonl),
    ".parquet": Format(_to_parquet, _join_parquet),
}
