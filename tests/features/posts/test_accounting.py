"""Every row of a table is used or reported, whatever is in its cells and whatever has happened to the file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus

HEADER = ["id", "text", "label"]
TEXTS = st.text(alphabet="ab ,;|\t\"'\\\n[]{}#é好😀N", max_size=12)
MARKS = st.text(alphabet=" ,;|\t\"'\\\n[]{}#!", max_size=12)  # no words that could be a label or an id
LABELS = st.sampled_from(["pos", "neg", "Pos", "nan", "", "N/A", "['pos']", "[", "sehr gut"])
JSON_LABELS = st.one_of(LABELS, st.none(), st.integers(), st.lists(LABELS, max_size=2), st.just("a\ud83d"))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"])
PLAIN = [[f"p{number}", "nothing to see", "pos"] for number in range(8)]  # what other rows are compared with

Record = Sequence[object]
Lines = list[str]


def separated(separator: str, quoting: int = csv.QUOTE_MINIMAL, escape: bool = False) -> Callable[[Record], str]:
    def write(record: Record) -> str:
        stream = io.StringIO()
        escaping = {"escapechar": "\\", "doublequote": False} if escape else {}
        csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator="\n", **escaping).writerow(record)
        return stream.getvalue().removesuffix("\n")

    return write


def unquoted(separator: str) -> Callable[[Record], str]:
    """As a script without a CSV writer does it; a line break would be another row."""
    return lambda record: separator.join(str(cell).replace("\n", " ") for cell in record)


WRITERS: dict[str, Callable[[Record], str]] = {
    "minimal.csv": separated(","),
    "all.csv": separated(",", csv.QUOTE_ALL),
    "backslash.csv": separated(",", csv.QUOTE_ALL, escape=True),
    "semicolon.csv": separated(";"),
    "tabs.csv": separated("\t"),
    "joined.csv": unquoted(","),
    "quoted.tsv": separated("\t"),
    "joined.tsv": unquoted("\t"),
    "lines.jsonl": lambda record: json.dumps(dict(zip(HEADER, record, strict=True))),
}

EXACT = ["minimal.csv", "all.csv", "semicolon.csv", "tabs.csv", "quoted.tsv", "lines.jsonl"]


@dataclass(frozen=True)
class Written:
    """A file, and for each of its rows the id and the first and last line (1-based)."""

    name: str
    raw: bytes
    rows: list[tuple[str, int, int]]


@st.composite
def files(draw: st.DrawFn) -> Written:
    name = draw(st.sampled_from(sorted(WRITERS)))
    numbers = draw(st.lists(st.integers(0, 9), max_size=8))  # some ids twice
    labels = JSON_LABELS if name == "lines.jsonl" else LABELS
    drawn = [[f"r{number}", draw(TEXTS), draw(labels)] for number in numbers]
    records = draw(st.permutations([*PLAIN, *drawn]))
    lines: Lines = [] if name == "lines.jsonl" else WRITERS[name](HEADER).split("\n")
    rows = []
    for record in records:
        written = WRITERS[name](record).split("\n")
        rows.append((str(record[0]), len(lines) + 1, len(lines) + len(written)))
        lines += written
    starts = {first - 1 for _, first, _ in rows}
    encoding = draw(ENCODINGS)
    encoded = [line.encode(encoding.removesuffix("-sig")) for line in lines]
    if encoding != "utf-16":
        for at in draw(st.sets(st.sampled_from(sorted(starts)), max_size=3)):
            encoded[at] = damage(draw, encoded[at])
    mark = b"\xef\xbb\xbf" if encoding == "utf-8-sig" else b""
    raw = "\n".join(lines).encode("utf-16") if encoding == "utf-16" else mark + b"\n".join(encoded)
    return Written(name, raw, rows)


def damage(draw: st.DrawFn, line: bytes) -> bytes:
    """A line that was cut, has a quote mark or a separator more, or bytes of no encoding; its id is as it was."""
    at = draw(st.integers(min(16, len(line)), len(line)))
    return draw(
        st.sampled_from(
            [line[:at], line[:at] + b'"' + line[at:], line[:at] + b"," + line[at:], line[:at] + b"\xff\xff"]
        )
    )


def reported_lines(corpus: Corpus) -> set[int]:
    found = set()
    for problem in corpus.problems:
        assert problem.line is not None
        span = re.match(r"lines (\d+) to (\d+)", problem.reason)
        found |= set(range(int(span[1]), int(span[2]) + 1)) if span else {problem.line}
    return found


def read(files: dict[str, bytes], *, file: str = "") -> Corpus:
    with TemporaryDirectory() as folder:
        for name, raw in files.items():
            (Path(folder) / name).write_bytes(raw)
        return read_corpus(Path(folder) / file)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_a_row_of_a_damaged_table_is_used_or_its_line_is_reported(written: Written) -> None:
    corpus = read({written.name: written.raw}, file=written.name)
    used, lines = [sample.id for sample in corpus.samples], reported_lines(corpus)
    reported = [id for id, first, last in written.rows if lines & set(range(first, last + 1))]
    assert len(used) == len(set(used))
    for id in {id for id, _, _ in written.rows}:
        count = sum(other == id for other, _, _ in written.rows)
        assert (id in used) + reported.count(id) >= count, (id, corpus.problems)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(EXACT), st.lists(st.tuples(MARKS, st.sampled_from(["pos", "neg"])), max_size=8))
def test_a_table_as_its_writer_left_it_is_read_cell_by_cell(name: str, cells: list[tuple[str, str]]) -> None:
    records = [*PLAIN, *([f"r{number}", text, label] for number, (text, label) in enumerate(cells))]
    header = "" if name == "lines.jsonl" else WRITERS[name](HEADER) + "\n"
    raw = (header + "\n".join(map(WRITERS[name], records))).encode()
    corpus = read({name: raw}, file=name)
    assert [sample.id for sample in corpus.samples] == [str(record[0]) for record in records]
    assert [sample.text for sample in corpus.samples] == [str(record[1]).strip() or None for record in records]
