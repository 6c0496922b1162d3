"""Tables of docs/results.md, made of what the benchmarks printed.

    python benchmarks/results_tables.py [FOLDER]

Prints the tables of heads, presets and the best results as Markdown, to be pasted; a test compares them with the page.
FOLDER holds the output of the benchmarks, `benchmarks/results` if left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
HEADS = {  # in the order of the page
    "gated, 5 heads per fold": "gated, `--ensemble 5`",
    "attention, 5 heads per fold": "attention, `--ensemble 5`",
    "gated": "gated",
    "attention": "attention",
    "concat": "concat",
    "weighted": "weighted",
    "text": "text alone",
    "image": "image alone",
    "linear": "linear probe",
    "SVM (RBF, C=2)": "support-vector machine (RBF)",
    "majority": "majority class",
}


def printed_rows(file: Path) -> Iterator[list[str]]:
    """The cells of the table in a file: what stands between its line of dashes and that of the machine."""
    lines = iter(file.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("---"):
            break
    for line in lines:
        if line.startswith("machine:"):
            return
        yield re.split(r"\s{2,}", line.strip())


def short(cell: str) -> str:
    """A figure as the page has it: without the zero before the point, and with a space behind ±."""
    return re.sub(r"(?<![\d.])0\.", ".", re.sub(r"±\s*", "± ", cell))


def difference(value: str, p: str) -> str:
    """A difference with its p-value."""
    return f"{short(value)} (p {'< .001' if float(p) < 0.001 else short(p)})"


def head_rows(folder: Path) -> Iterator[list[str]]:
    """Head, accuracy, its interval, macro-F1, its interval."""
    found = {name: cells for name, *cells in printed_rows(folder / "heads.txt")}
    for printed, shown in HEADS.items():
        accuracy, _, f1, _, _, intervals = found[printed]
        first, second = intervals.split(", ")
        yield [shown, *map(short, (accuracy, first, f1, second))]


def preset_rows(folder: Path) -> Iterator[list[str]]:
    """Preset, accuracy, its interval, macro-F1, its interval, minutes to embed and to train."""
    for name, *cells in printed_rows(folder / "presets.txt"):
        yield [name, *(short(cell.removesuffix(" min")) for cell in cells)]


def best_rows(folder: Path) -> Iterator[list[str]]:
    """Part, accuracy, its interval, macro-F1, its interval, the difference from the first line."""
    for number, (name, *cells, value, p) in enumerate(printed_rows(folder / "best.txt")):
        yield [name, *map(short, cells), difference(value, p) if number else "–"]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    for rows in (head_rows, preset_rows, best_rows):
        print(*(f"| {' | '.join(cells)} |" for cells in rows(folder)), "", sep="\n")


if __name__ == "__main__":
    main()
