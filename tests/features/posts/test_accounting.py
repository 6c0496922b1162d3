"""Every row of a table is used or reported, whatever is in its cells and whatever has happened to the file."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msa.features.posts.layouts import ReadOptions, read_corpus
from msa.features.posts.samples import Corpus

CANONICAL = ("id", "text", "label")
HEADERS = st.sampled_from([CANONICAL, ("Tweet #", "mood 1", "x'y"), ("#2", "#3", "#1")])
STEMS = st.sampled_from(["posts", "my posts (1)", "数据", "a'b", "train.v2"])
ID_FORMS = st.sampled_from(["{}{}", "{} {}", "{}_{}", "{}/{}", "{}'{}", "{}.{}", "no. {}{}"])  # one in a file
TEXTS = st.text(alphabet="ab ,;|\t\"'\\\n[]{}#é好😀N", max_size=12)
MARKS = st.text(alphabet=" ,;|\t\"'\\\n[]{}#!", max_size=12)  # no words that could be a label or an id
LABELS = st.sampled_from(["pos", "neg", "Pos", "nan", "", "N/A", "['pos']", "[", "sehr gut"])
JSON_LABELS = st.one_of(LABELS, st.none(), st.integers(), st.lists(LABELS, max_size=2), st.just("a\ud83d"))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"])

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


def json_line(header: Sequence[str]) -> Callable[[Record], str]:
    return lambda record: json.dumps(dict(zip(header, record, strict=True)))


WRITERS: dict[str, Callable[[Record], str]] = {
    "minimal.csv": separated(","),
    "all.csv": separated(",", csv.QUOTE_ALL),
    "backslash.csv": separated(",", csv.QUOTE_ALL, escape=True),
    "semicolon.csv": separated(";"),
    "tabs.csv": separated("\t"),
    "joined.csv": unquoted(","),
    "quoted.tsv": separated("\t"),
    "joined.tsv": unquoted("\t"),
    "lines.jsonl": json_line(CANONICAL),
}

EXACT = ["minimal.csv", "all.csv", "semicolon.csv", "tabs.csv", "quoted.tsv", "lines.jsonl"]


@dataclass(frozen=True)
class Written:
    """A file, its header, and for each of its rows the id and the first and last line (1-based)."""

    name: str
    header: Sequence[str]
    raw: bytes
    rows: list[tuple[str, int, int]]


def plain_records(form: str = "{}{}") -> list[list[str]]:
    """Rows that tell the form of ids and the encoding."""
    return [[form.format("p", number), "nothing to see 好", "pos"] for number in range(8)]


@st.composite
def files(draw: st.DrawFn) -> Written:
    name = draw(st.sampled_from(sorted(WRITERS)))
    header = draw(HEADERS)
    labels = JSON_LABELS if name == "lines.jsonl" else LABELS
    form = draw(ID_FORMS)
    ids = st.builds(form.format, st.just("r"), st.integers(0, 9))
    drawn = draw(st.lists(st.tuples(ids, TEXTS, labels), max_size=8))  # some ids twice
    records = draw(st.permutations([*plain_records(form), *drawn]))
    write = json_line(header) if name == "lines.jsonl" else WRITERS[name]
    lines: Lines = [] if name == "lines.jsonl" else write(header).split("\n")
    rows = []
    for record in records:
        written = write(record).split("\n")
        rows.append((str(record[0]), len(lines) + 1, len(lines) + len(written)))
        lines += written
    starts = {first - 1: id for id, first, _ in rows}
    encoding = draw(ENCODINGS)
    encoded = [line.encode(encoding.removesuffix("-sig")) for line in lines]
    if encoding != "utf-16":
        for at in draw(st.sets(st.sampled_from(sorted(starts)), max_size=3)):
            encoded[at] = damage(draw, encoded[at], starts[at].encode())
    mark = b"\xef\xbb\xbf" if encoding == "utf-8-sig" else b""
    raw = "\n".join(lines).encode("utf-16") if encoding == "utf-16" else mark + b"\n".join(encoded)
    return Written(draw(STEMS) + name[name.index(".") :], header, raw, rows)


def damage(draw: st.DrawFn, line: bytes, id: bytes) -> bytes:
    """A line that was cut, has a quote mark or a separator more, or bytes of no encoding; its id is as it was."""
    at = draw(st.integers(min(line.index(id) + len(id) + 2, len(line)), len(line)))
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


def read(files: dict[str, bytes], *, file: str = "", header: Sequence[str] = CANONICAL) -> Corpus:
    with TemporaryDirectory() as folder:
        for name, raw in files.items():
            (Path(folder) / name).write_bytes(raw)
        columns = dict(zip(CANONICAL, header, strict=True))
        return read_corpus(Path(folder) / file, options=ReadOptions(columns=columns))


@settings(deadline=None, derandomize=True, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_a_row_of_a_damaged_table_is_used_or_its_line_is_reported(written: Written) -> None:
    corpus = read({written.name: written.raw}, file=written.name, header=written.header)
    used, lines = [sample.id for sample in corpus.samples], reported_lines(corpus)
    reported = [id for id, first, last in written.rows if lines & set(range(first, last + 1))]
    assert len(used) == len(set(used))
    for id in {id for id, _, _ in written.rows}:
        count = sum(other == id for other, _, _ in written.rows)
        assert (id in used) + reported.count(id) >= count, (id, corpus.problems)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.sampled_from(EXACT), st.lists(st.tuples(MARKS, st.sampled_from(["pos", "neg"])), max_size=8))
def test_a_table_as_its_writer_left_it_is_read_cell_by_cell(name: str, cells: list[tuple[str, str]]) -> None:
    records = [*plain_records(), *([f"r{number}", text, label] for number, (text, label) in enumerate(cells))]
    header = "" if name == "lines.jsonl" else WRITERS[name](CANONICAL) + "\n"
    raw = (header + "\n".join(map(WRITERS[name], records))).encode()
    corpus = read({name: raw}, file=name)
    assert [sample.id for sample in corpus.samples] == [str(record[0]) for record in records]
    assert [sample.text for sample in corpus.samples] == [str(record[1]).strip() or None for record in records]


POST = st.tuples(
    st.integers(0, 5), st.sampled_from(["so cold", "so warm", "rain"]), st.sampled_from(["", "pos", "neg"])
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(POST, max_size=6), st.lists(POST, max_size=6), st.booleans())
def test_rows_of_two_tables_are_used_united_or_reported(
    train: list[tuple[object, ...]], test: list[tuple[object, ...]], one_split: bool
) -> None:
    tables = {"train.csv": train, "test.csv": test, "val.csv": []}
    if one_split:
        tables = {"test.csv": train, "test_seen.csv": test, "train.csv": []}
    write = WRITERS["minimal.csv"]
    raw = {name: "\n".join(map(write, [CANONICAL, *rows])).encode() for name, rows in tables.items()}
    corpus = read(raw)
    united = sum(int(match[1]) for note in corpus.notes if (match := re.match(r"posts in two files.*?: (\d+)", note)))
    assert all("is already in" in problem.reason for problem in corpus.problems)
    assert len(corpus.samples) + united + len(corpus.problems) == len(train) + len(test)
    assert len({sample.id for sample in corpus.samples}) == len(corpus.samples)


@pytest.mark.parametrize(
    ("name", "table", "most"),
    [
        ("posts.csv", b"id,text,label\nr1," + b"x" * 4_000_000 + b",a\n", 8),
        ("posts.csv", b"id,text,label\nr1," + "\u4e2d".encode() * 1_000_000 + b",a\n", 8),
        ("posts.csv", b"id,text,label\n" + b"\n" * 50_000, 120),
        ("posts.csv", b"id,text,label\n" + b"a\n" * 20_000, 480),
        ("posts.jsonl", b'{"id": "a", "label": "x", "text": "' + b"x" * 4_000_000 + b'"}\n', 8),
    ],
    ids=["a line", "a Chinese line", "empty lines", "lines that are no rows", "a line of JSON"],
)
def test_memory_is_bounded_by_a_multiple_of_the_table(tmp_path: Path, name: str, table: bytes, most: int) -> None:
    (tmp_path / name).write_bytes(table)
    tracemalloc.start()
    try:
        read_corpus(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < most * len(table)
    finally:
        tracemalloc.stop()
