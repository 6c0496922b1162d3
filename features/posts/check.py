"""What `msa check` finds: rows, labels, missing parts, problems and duplicates of a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..spec import BadItem
from .content import Contents, hash_corpus
from .images import decode_pixels
from .samples import Corpus, Problem


@dataclass(frozen=True)
class Duplicates:
    """Content that stands more than once: how many contents, rows that carry them, and contents with unlike labels."""

    groups: int
    rows: int
    across_labels: int


@dataclass(frozen=True)
class CheckReport:
    """The findings; rows count posts, missing parts are absent or empty ones, problems include undecodable files."""

    layout: str
    rows: int
    labels: dict[str, int]
    unlabelled: int
    splits: dict[str, int]
    missing_image: int
    missing_text: int
    problems: Sequence[Problem]
    duplicates: dict[str, Duplicates]
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"problems": [asdict(p) for p in self.problems], "notes": list(self.notes)}

    def to_text(self) -> str:
        """A plain text table, one finding a line, then the notes and problems."""
        table: list[tuple[str, str]] = [("layout", self.layout), ("rows", str(self.rows))]
        table += [(f"  {label}", str(count)) for label, count in self.labels.items()]
        table += [("  unlabelled", str(self.unlabelled))]
        table += [(f"split {split}", str(count)) for split, count in self.splits.items()]
        table += [("missing image", str(self.missing_image)), ("missing text", str(self.missing_text))]
        for name, found in self.duplicates.items():
            counts = f"{found.rows} rows in {found.groups} groups, {found.across_labels} groups across labels"
            table.append((f"same {name}", counts))
        table.append(("problems", str(len(self.problems))))
        width = max(len(name) for name, _ in table)
        lines = [f"{name:<{width}}  {value}" for name, value in table]
        return "\n".join([*lines, *self.notes, *map(str, self.problems)])


def check_corpus(corpus: Corpus, *, workers: int = 4) -> CheckReport:
    """Read and decode everything once, in threads, and report; raises nothing for bad files."""
    contents = hash_corpus(corpus, workers=workers)
    labels = [sample.label for sample in corpus.samples]
    return CheckReport(
        layout=corpus.layout,
        rows=len(corpus.samples),
        labels=dict(sorted(Counter(label for label in labels if label is not None).items())),
        unlabelled=labels.count(None),
        splits=dict(sorted(Counter(s.split for s in corpus.samples if s.split is not None).items())),
        missing_image=sum(contents.missing("image")),
        missing_text=sum(contents.missing("text")),
        problems=[*corpus.problems, *_undecodable(corpus, contents, workers)],
        duplicates={
            "text": _duplicates(contents.text_keys, labels),
            "image": _duplicates(contents.image_keys, labels),
        },
        notes=corpus.notes,
    )


def _undecodable(corpus: Corpus, contents: Contents, workers: int) -> list[Problem]:
    """Bad texts and images in the order of the posts; content that stands often is decoded once."""
    found = {(b.index, b.modality): (b.file, b.reason) for b in contents.bad}
    first: dict[str, int] = {}
    for index, key in enumerate(contents.image_keys):
        if key is not None:
            first.setdefault(key, index)

    def reason(index: int) -> str | None:
        image = corpus.samples[index].image
        assert image is not None
        try:
            raw = image.read_bytes()
            decode_pixels(raw)
        except OSError as error:
            return f"unreadable: {error.strerror or error}"
        except BadItem as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        reasons = dict(zip(first, pool.map(reason, first.values()), strict=True))
    for index, key in enumerate(contents.image_keys):
        why = None if key is None else reasons[key]
        if why is not None:
            found[index, "image"] = (str(corpus.samples[index].image), why)
    return [Problem(_shown(file, corpus.root), None, why) for _, (file, why) in sorted(found.items())]


def _duplicates(keys: Sequence[str | None], labels: Sequence[str | None]) -> Duplicates:
    carried: dict[str, list[str | None]] = {}
    for key, label in zip(keys, labels, strict=True):
        if key is not None:
            carried.setdefault(key, []).append(label)
    repeated = [members for members in carried.values() if len(members) > 1]
    unlike = sum(len(set(members) - {None}) > 1 for members in repeated)
    return Duplicates(len(repeated), sum(map(len, repeated)), unlike)


def _shown(file: str, root: Path) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file
