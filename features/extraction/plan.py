"""Finds the items that each encoder lacks before an extraction, and accounts for every row after it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..encoders.encoder import Source
from ..messages import notify
from ..posts.cells import SEVERAL_IMAGES
from ..posts.content import Contents
from ..posts.samples import Corpus
from ..spec import EncoderSpec, Modality, Reads
from ..store.durable import require_writable
from ..store.errors import BadRecord, update_errors
from ..store.parts import data_bytes
from ..store.store import Store


@dataclass(frozen=True)
class EncoderReport:
    """Where each row went: rows = encoded + cached + duplicate + missing + bad. `bytes` on disk, all data sets.

    Rows are posts, and of images also the further ones of posts with several. `cut` of the encoded texts are longer
    than the encoder's limit, so that their end was left out.
    """

    name: str
    modality: Modality
    fingerprint: str
    path: str
    rows: int
    encoded: int
    cached: int
    duplicate: int
    missing: int
    bad: int
    cut: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Target:
    """The store of one spec and the items it lacks: content key -> number of the first item with that content."""

    store: Store
    tokens: bool  # store token vectors beside the pooled ones
    todo: Mapping[str, int]

    @property
    def spec(self) -> EncoderSpec:
        """What identifies the encoder."""
        return self.store.spec


@dataclass(frozen=True, eq=False)
class EncoderTask:
    """One encoder's work on one corpus, with a target for each of its specs."""

    source: Source
    targets: list[Target]

    @property
    def reads(self) -> Reads:
        """The part of a post that it embeds."""
        return self.source.spec.reads

    @cached_property
    def todo(self) -> dict[str, int]:
        """Items that at least one target lacks, in the order of the corpus."""
        lacking = {key: row for target in self.targets for key, row in target.todo.items()}
        return dict(sorted(lacking.items(), key=lambda pair: pair[1]))


@dataclass(frozen=True)
class TaskResult:
    """What running a task gave: the reason for each bad item by content key, the seconds, the keys of cut texts."""

    bad: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: Set[str] = frozenset()


def cut_note(name: str, cut: int, texts: str) -> str:
    """The note on texts beyond the limit of an encoder."""
    return f"{cut} {texts} texts are longer than what {name} reads, and their ends were left out"


def several_notes(corpus: Corpus) -> list[str]:
    """The reader's notes on posts with several images, each of which is read."""
    return [note for note in corpus.notes if note.startswith(SEVERAL_IMAGES)]


def notify_cut(reports: Iterable[EncoderReport]) -> None:
    """Say how many new texts were beyond the limit of an encoder."""
    for report in reports:
        if report.cut:
            notify(cut_note(report.name, report.cut, "new"))


def plan_tasks(contents: Contents, sources: Sequence[Source], cache: Path, *, tokens: bool) -> list[EncoderTask]:
    """A task for each source. Raises ValueError where items are lacking and their folder cannot be written to."""
    tasks = []
    for source in sources:
        items = contents.first(source.spec.reads)
        targets = [find_missing(Store.open(cache, spec), items, tokens=tokens) for spec in source.specs]
        for target in targets:
            if target.todo:
                require_writable(target.store.folder, data_bytes(target.spec, len(target.todo), None))
        tasks.append(EncoderTask(source, targets))
    return tasks


def find_missing(store: Store, items: Mapping[str, int], *, tokens: bool) -> Target:
    """The items that a store lacks. `tokens` False accepts rows without tokens, except from pass-through encoders."""
    tokens = tokens or store.spec.raw
    found = store.find(list(items), tokens=tokens)
    todo = {key: index for (key, index), stored in zip(items.items(), found, strict=True) if not stored}
    return Target(store, tokens, todo)


def finish_tasks(
    corpus: Corpus,
    contents: Contents,
    tasks: Sequence[EncoderTask],
    results: Mapping[EncoderTask, TaskResult],
    *,
    merge: bool = True,
) -> list[EncoderReport]:
    """Count every row, write errors.jsonl, merge the parts; return one report per spec. Idle tasks have no result."""
    return [
        finish_target(corpus, contents, target, results.get(task, TaskResult()), merge=merge)
        for task in tasks
        for target in task.targets
    ]


def finish_target(
    corpus: Corpus, contents: Contents, target: Target, result: TaskResult, *, merge: bool = True
) -> EncoderReport:
    """The same for one spec."""
    spec, store = target.spec, target.store
    unreadable = contents.unreadable(spec.reads)
    counts: Counter[str] = Counter()
    records: list[BadRecord] = []
    seen: set[str] = set()
    posts: set[tuple[str, str]] = set()
    for index, (sample, key) in enumerate(zip(corpus.items(spec.reads), contents.keys(spec.reads), strict=True)):
        file = sample.file_name(spec.reads)
        posts.add((sample.id, file))
        if (problem := unreadable.get(index)) is not None:
            key = problem.key if spec.reads != "post" else None
            reason = problem.reason if spec.reads != "post" else f"its {problem.modality}: {problem.reason}"
            records.append(BadRecord(sample.id, key, file, reason))
        elif key is None:
            counts["missing"] += 1
        elif key in result.bad:
            records.append(BadRecord(sample.id, key, file, result.bad[key]))
        elif key in seen:
            counts["duplicate"] += 1
        else:
            counts["encoded" if key in target.todo else "cached"] += 1
        if key is not None:
            seen.add(key)
    good = seen.difference(record.key for record in records if record.key)  # another post may share bad content
    update_errors(store.folder, good, records, posts)
    others_wrote = len(store.parts) > 1 and os.access(store.folder, os.W_OK)
    if merge and (counts["encoded"] or others_wrote):
        store.compact()
    else:
        store.refresh()
    return EncoderReport(
        name=spec.name,
        modality=spec.modality,
        fingerprint=spec.fingerprint,
        path=str(store.folder),
        rows=len(contents.keys(spec.reads)),
        encoded=counts["encoded"],
        cached=counts["cached"],
        duplicate=counts["duplicate"],
        missing=counts["missing"],
        bad=len(records),
        cut=len(result.cut),
        seconds=round(result.seconds, 3),
        bytes=store.bytes,
    )
