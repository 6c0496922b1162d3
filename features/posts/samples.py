"""PostCollector as data: what a reader returns and everything downstream consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..spec import Modality


@dataclass(frozen=True)
class Sample:
    """One post. `image` is a file; `text` is a file that is not decoded yet, or the text itself; None where absent."""

    id: str
    image: Path | None
    text: Path | str | None
    label: str | None = None
    split: str | None = None
    group: str | None = None

    def file(self, modality: Modality) -> Path | None:
        """The file of its image or text; None where there is none, or the text stands in a table."""
        content = self.image if modality == "image" else self.text
        return content if isinstance(content, Path) else None

    def file_name(self, modality: Modality) -> str:
        """Name of that file in an error record; the id of the post where there is no file."""
        file = self.file(modality)
        return self.id if file is None else file.name


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
