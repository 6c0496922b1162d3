"""Posts as data: what a reader returns and everything downstream consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One post. `image` is a file; `text` is a file still to be decoded, or the text itself; either may be absent."""

    id: str
    image: Path | None
    text: Path | str | None
    label: str | None = None
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Problem:
    """Something wrong in the data: which file, which line (1-based; None for a whole file), and what."""

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@dataclass(frozen=True)
class Corpus:
    """All posts of one data set, in the order of its files, and what was wrong with it.

    `notes` are lines for the reader of `msa check`, such as the kept and dropped counts of a label rule.
    """

    root: Path
    layout: str
    samples: Sequence[Sample]
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted: the order of every class axis."""
        return sorted({s.label for s in self.samples if s.label is not None})
