"""`msa check`: counts the rows, labels, missing parts, problems and duplicates of a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..spec import MODALITIES, Modality
from .content import Contents, duplicate_groups, hash_corpus
from .near_duplicates import NearHashes, near_groups, near_hashes
from .remote.link import is_link
from .samples import Corpus, Problem
from .text import UTF_8

SHOWN = 10  # problems of each kind


@dataclass(frozen=True)
class Duplicates:
    """Repeated content, or near copies: the number of groups, their rows, and the groups with different labels."""

    groups: int
    rows: int
    across_labels: int


@dataclass(frozen=True)
class Groups:
    """Posts that share an image, a text or a group, directly or through others: groups of two or more, and rows."""

    groups: int
    rows: int
    largest: int


@dataclass(frozen=True)
class CheckReport:
    """The findings. Rows are posts; missing parts are absent or empty; problems include undecodable files."""

    layout: str
    rows: int
    labels: dict[str, int]
    unlabelled: int
    splits: dict[str, int]
    missing_image: int
    missing_text: int
    problems: Sequence[Problem]
    duplicates: dict[str, Duplicates]
    groups: Groups
    near_copies: dict[str, Duplicates]
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_text(self, *, every: bool = False) -> str:
        """One finding per line, then the notes and problems: the first of each kind, or every one."""
        table: list[tuple[str, str]] = [("layout", self.layout), ("rows", str(self.rows))]
        table += [(f"  {label}", str(count)) for label, count in self.labels.items()]
        table += [("  unlabelled", str(self.unlabelled))]
        table += [(f"split {split}", str(count)) for split, count in self.splits.items()]
        table += [("missing image", str(self.missing_image)), ("missing text", str(self.missing_text))]
        for name, found in self.duplicates.items():
            counts = f"{found.rows} rows in {found.groups} groups, {found.across_labels} groups across labels"
            table.append((f"same {name}", counts))
        tied = f"{self.groups.rows} rows in {self.groups.groups} groups, {self.groups.largest} rows in the largest"
        table.append(("same image, text or group", tied))
        for name, near in self.near_copies.items():
            counts = f"{near.rows} posts in {near.groups} groups, {near.across_labels} across labels"
            table.append((f"near copies of {name}s", counts))
        table.append(("problems", str(len(self.problems))))
        width = max(len(name) for name, _ in table)
        lines = [f"{name:<{width}}  {value}" for name, value in table]
        return "\n".join([*lines, *self.notes, *(map(str, self.problems) if every else _first_of_each(self.problems))])


def check_corpus(corpus: Corpus, cache: Path | None = None) -> CheckReport:
    """Read and decode everything once, in threads; bad files are reported, not raised.

    What the content index of the cache knows is neither read nor decoded again.
    """
    contents = hash_corpus(corpus, cache)
    hashes = {modality: near_hashes(corpus, contents, modality, cache) for modality in MODALITIES}
    labels = [sample.label for sample in corpus.samples]
    return CheckReport(
        layout=corpus.layout,
        rows=len(corpus.samples),
        labels=dict(sorted(Counter(label for label in labels if label is not None).items())),
        unlabelled=labels.count(None),
        splits=dict(sorted(Counter(s.split for s in corpus.samples if s.split is not None).items())),
        missing_image=sum(contents.missing("image")),
        missing_text=sum(contents.missing("text")),
        problems=[*corpus.problems, *_undecodable(corpus, contents, hashes["image"].bad)],
        duplicates={name: _duplicates(contents, name, contents.keys(name), labels) for name in ("text", "image")},
        groups=_groups(contents, corpus),
        near_copies={name: _near_copies(contents, name, hashes[name], labels) for name in ("text", "image")},
        notes=[*corpus.notes, *_encodings(contents)],
    )


def _first_of_each(problems: Sequence[Problem]) -> Iterator[str]:
    """The first problems of each kind, kind by kind, and how many more there are."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    for same in kinds.values():
        yield from map(str, same[:SHOWN])
        if len(same) > SHOWN:
            yield f"and {len(same) - SHOWN} more; --all prints them"


def _encodings(contents: Contents) -> list[str]:
    """How many text files are in which encoding other than UTF-8; those that cannot be read are problems."""
    counts = Counter(contents.encodings)
    return [f"{counts[name]} texts read as {name}" for name in sorted(counts) if name not in {"", UTF_8}]


def _groups(contents: Contents, corpus: Corpus) -> Groups:
    own = [sample.group for sample in corpus.samples]
    numbers = duplicate_groups(own, contents.image_keys, contents.text_keys, owners=contents.owners)
    sizes = [size for size in Counter(numbers).values() if size > 1]
    return Groups(len(sizes), sum(sizes), max(sizes, default=0))


def _undecodable(corpus: Corpus, contents: Contents, reasons: Mapping[str, str]) -> list[Problem]:
    """Bad texts and images in the order of the posts; `reasons` are of the images by content key."""
    found = {(b.index, b.modality): (b.file, b.reason) for b in contents.bad}
    for index, key in enumerate(contents.image_keys):
        if key is not None and key in reasons:
            found[index, "image"] = (str(corpus.items("image")[index].image), reasons[key])
    return [Problem(_below(file, corpus.root), None, why) for _, (file, why) in sorted(found.items())]


def _below(file: str, root: Path) -> str:
    """A path below the root; what lies elsewhere, or is a link, as it is."""
    return Path(file).relative_to(root).as_posix() if Path(file).is_relative_to(root) and not is_link(file) else file


def _duplicates(
    contents: Contents, modality: Modality, keys: Sequence[str | None], labels: Sequence[str | None]
) -> Duplicates:
    """The posts that share the key of an item; `keys` are of all items, `labels` of the posts."""
    posts_of: dict[str, set[int]] = {}
    for row, key in zip(contents.rows(modality), keys, strict=True):
        if key is not None:
            posts_of.setdefault(key, set()).add(row)
    groups = [rows for rows in posts_of.values() if len(rows) > 1]
    across_labels = sum(len({labels[row] for row in rows} - {None}) > 1 for rows in groups)
    return Duplicates(len(groups), sum(map(len, groups)), across_labels)


def _near_copies(
    contents: Contents, modality: Modality, hashes: NearHashes, labels: Sequence[str | None]
) -> Duplicates:
    """The groups of different contents that are near copies; equal ones are counted as duplicates."""
    groups = near_groups(contents, modality, hashes)
    members: dict[str, set[str | None]] = {}
    for group, key in zip(groups, contents.keys(modality), strict=True):
        if group is not None:
            members.setdefault(group, set()).add(key)
    several = [group if group and len(members[group]) > 1 else None for group in groups]
    return _duplicates(contents, modality, several, labels)
