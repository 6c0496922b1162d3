"""Before stage one: which items each encoder lacks. After it: where every row went."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..encoders.encoder import Source
from ..posts.content import Contents
from ..posts.samples import Corpus
from ..spec import EncoderSpec, Modality
from ..store.errors import BadRecord, update_errors
from ..store.store import Store


@dataclass
class EncoderReport:
    """Where each row went: rows = encoded + cached + duplicate + missing + bad. `bytes` on disk, all data sets."""

    name: str
    modality: Modality
    fingerprint: str
    path: str
    encoded: int = 0
    cached: int = 0
    duplicate: int = 0
    missing: int = 0
    bad: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass
class Target:
    """One spec's store, and what it lacks: key -> index of the sample that stands for it."""

    spec: EncoderSpec
    store: Store
    report: EncoderReport
    todo: dict[str, int]


@dataclass
class Task:
    """One encoder's work on one corpus: a target for each of its specs, and what turned out to be bad."""

    source: Source
    targets: list[Target]
    bad: dict[str, str] = field(default_factory=dict)  # key -> reason

    @property
    def modality(self) -> Modality:
        return self.source.spec.modality

    @property
    def todo(self) -> dict[str, int]:
        """What at least one of the targets lacks, in the order of the corpus."""
        if len(self.targets) == 1:
            return self.targets[0].todo
        lacking = {key: row for target in self.targets for key, row in target.todo.items()}
        return dict(sorted(lacking.items(), key=lambda pair: pair[1]))


def make_task(contents: Contents, source: Source, cache: Path, *, tokens: bool) -> Task:
    """Find what a cache lacks of one encoder."""
    first: dict[str, int] = {}
    for index, key in enumerate(contents.keys(source.spec.modality)):
        if key is not None:
            first.setdefault(key, index)
    targets = []
    for spec in source.specs:
        store = Store.open(cache, spec)
        known = store.find(list(first), tokens=tokens or spec.raw)
        todo = {key: index for (key, index), there in zip(first.items(), known, strict=True) if not there}
        report = EncoderReport(spec.name, spec.modality, spec.fingerprint, str(store.folder))
        targets.append(Target(spec, store, report, todo))
    return Task(source, targets)


def settle(corpus: Corpus, contents: Contents, task: Task, *, merge: bool = True) -> list[EncoderReport]:
    """Count every row, write errors.jsonl, merge the parts."""
    return [_settle(corpus, contents, target, task.bad, merge=merge) for target in task.targets]


def _settle(corpus: Corpus, contents: Contents, target: Target, bad: dict[str, str], *, merge: bool) -> EncoderReport:
    spec, report = target.spec, target.report
    unreadable = {found.index: found for found in contents.bad if found.modality == spec.modality}
    records: list[BadRecord] = []
    seen: set[str] = set()
    posts: set[tuple[str, str]] = set()
    for index, (sample, key) in enumerate(zip(corpus.samples, contents.keys(spec.modality), strict=True)):
        origin = sample.image if spec.modality == "image" else sample.text
        file = origin.name if isinstance(origin, Path) else sample.id
        posts.add((sample.id, file))
        if index in unreadable:
            records.append(BadRecord(sample.id, unreadable[index].key, file, unreadable[index].reason))
            key = unreadable[index].key
        elif key is None:
            report.missing += 1
        elif key in bad:
            records.append(BadRecord(sample.id, key, file, bad[key]))
        elif key in seen:
            report.duplicate += 1
        elif key in target.todo:
            report.encoded += 1
        else:
            report.cached += 1
        if key is not None:
            seen.add(key)
    report.bad = len(records)
    mended = seen.difference(record.key for record in records if record.key)  # other posts may share what is bad still
    update_errors(target.store.folder, mended, records, posts)
    if merge and (report.encoded or _scattered(target.store)):
        target.store.merge()
    else:
        target.store.refresh()
    report.bytes = target.store.bytes
    return report


def _scattered(store: Store) -> bool:
    """Whether other processes left parts that this one may merge."""
    return len(store.parts) > 1 and os.access(store.folder, os.W_OK)
