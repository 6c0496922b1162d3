"""Stage one: embed every post's image and text once, and account for each row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .content import Contents, hash_corpus
from .encoders import BadItem, Encoded, Encoder, EncoderSpec, Modality, Source
from .errors import BadRecord, update_errors
from .runtime import available_cores, pick_device
from .samples import Corpus, Sample
from .static import save_fitted
from .store import FLUSH_SECONDS, Store, Writer
from .text import clean_text, read_text

TEXT_WINDOW = 64  # batches of text that are sorted by length together

Progress = Callable[[str, int, int], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ExtractSettings:
    """How to run, none of which changes the numbers. `workers` 0 means one per core."""

    device: str = "auto"
    batch_size: int = 32
    workers: int = 0
    tokens: bool = True
    flush_seconds: float = FLUSH_SECONDS

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size must be at least 1; got {self.batch_size}")
        if self.workers < 0:
            raise ValueError(f"workers must be 0 (one per core) or more; got {self.workers}")


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
class Task:
    """One encoder's work on one corpus: which keys it lacks, and which row stands for each."""

    source: Source
    store: Store
    report: EncoderReport
    todo: dict[str, int]  # key -> index of the sample that stands for it
    bad: dict[str, str] = field(default_factory=dict)  # key -> reason


def extract(
    corpus: Corpus,
    sources: Sequence[Source],
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    progress: Progress = lambda name, done, total: None,
) -> list[EncoderReport]:
    """Embed what the cache lacks; return one report per encoder. Bad items go to `errors.jsonl`, not up the stack."""
    contents = hash_corpus(corpus)
    tasks = [_plan(corpus, contents, source, cache, tokens=settings.tokens) for source in sources]
    for modality in ("image", "text"):
        group = [task for task in tasks if task.source.spec.modality == modality]
        if any(task.todo for task in group):
            _run(corpus, group, settings, progress)
    for task in tasks:
        _settle(corpus, contents, task)
    return [task.report for task in tasks]


def _plan(corpus: Corpus, contents: Contents, source: Source, cache: Path, *, tokens: bool) -> Task:
    spec = source.spec
    store = Store.open(cache, spec)
    keys = contents.keys(spec.modality)
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        if key is not None:
            first.setdefault(key, index)
    known = store.find(list(first), tokens=tokens)
    todo = {key: index for (key, index), there in zip(first.items(), known, strict=True) if not there}
    report = EncoderReport(spec.name, spec.modality, spec.fingerprint, str(store.folder))
    return Task(source, store, report, todo)


def _run(corpus: Corpus, tasks: Sequence[Task], settings: ExtractSettings, progress: Progress) -> None:
    """Decode each item once for all encoders of one modality; decode, encode and write overlap."""
    index = {key: row for task in tasks for key, row in task.todo.items()}
    workers = settings.workers or available_cores()
    with ExitStack() as stack:
        lines = [stack.enter_context(_Line(task, settings, progress)) for task in tasks if task.todo]
        pool = stack.enter_context(ThreadPoolExecutor(workers))

        def prepare(key: str) -> tuple[str, list[tuple[_Line, Any]]]:
            return key, _prepare(corpus.samples[index[key]], key, lines)

        for key, prepared in _map_ahead(pool, prepare, index, settings.batch_size * 2 + workers):
            for line, item in prepared:
                line.push(key, item)


class _Line:
    """One encoder's way from prepared items to the store. Whatever ends the run, what was encoded is published."""

    def __init__(self, task: Task, settings: ExtractSettings, progress: Progress) -> None:
        self.task = task
        self.settings = settings
        self.progress = progress
        self.window = settings.batch_size * (TEXT_WINDOW if task.source.spec.modality == "text" else 1)
        self.waiting: list[tuple[str, Any]] = []
        self.writer = Writer(task.store, tokens=settings.tokens, flush_seconds=settings.flush_seconds)
        self.pool = ThreadPoolExecutor(1)  # writes while the next batch is computed
        self.writes: deque[Future[None]] = deque()
        self.loading = Lock()
        self.loaded: Encoder | None = None
        self.done = 0
        self.started = time.perf_counter()

    @property
    def encoder(self) -> Encoder:
        """The model, loaded when the first readable item arrives."""
        with self.loading:
            if self.loaded is None:
                self.loaded = self.task.source.load(pick_device(self.settings.device))
                save_fitted(self.loaded, self.task.store.folder)
            return self.loaded

    def push(self, key: str, prepared: Any) -> None:
        self.waiting.append((key, prepared))
        if len(self.waiting) >= self.window:
            self.drain()

    def drain(self) -> None:
        """Encode what waits, longest first, so that a batch holds items of like length and memory peaks early."""
        self.waiting.sort(key=lambda pair: -self.encoder.length(pair[1]))
        for start in range(0, len(self.waiting), self.settings.batch_size):
            batch = self.waiting[start : start + self.settings.batch_size]
            encoded = self.encoder.encode([prepared for _, prepared in batch])
            if len(self.writes) > 1:
                self.writes.popleft().result()
            self.writes.append(self.pool.submit(self.write, [key for key, _ in batch], encoded))
            self.done += len(batch)
            self.progress(self.task.report.name, self.done, len(self.task.todo) - len(self.task.bad))
        self.waiting.clear()

    def write(self, keys: Sequence[str], encoded: Encoded) -> None:
        spec = self.task.source.spec
        for key, pooled, tokens in zip(keys, encoded.pooled, encoded.tokens, strict=True):
            with np.errstate(over="ignore"):  # an overflow becomes infinity, which `unstorable` refuses
                stored = tokens.astype(spec.dtype) if self.settings.tokens else None
            reason = unstorable(spec, pooled, tokens, stored)
            if reason:
                self.task.bad[key] = reason
            else:
                self.writer.add(key, pooled, stored)

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.drain()
            while self.writes:
                self.writes.popleft().result()
        finally:
            self.pool.shutdown()
            self.writer.flush()
        self.task.report.seconds = round(time.perf_counter() - self.started, 3)


def unstorable(
    spec: EncoderSpec,
    pooled: NDArray[np.float32],
    tokens: NDArray[np.float32],
    stored: NDArray[np.floating] | None,
) -> str | None:
    """Why an embedding may not enter the store: NaN, infinity, or a value beyond half precision; None if it may."""
    if not (np.isfinite(pooled).all() and np.isfinite(tokens).all()):
        return f"{spec.name} gave NaN or infinity"
    if stored is not None and not np.isfinite(stored).all():
        return f"{spec.name} gave {np.abs(tokens).max():.3g}, beyond {spec.dtype}; use --dtype float32"
    return None


def _prepare(sample: Sample, key: str, lines: Sequence[_Line]) -> list[tuple[_Line, Any]]:
    """Decode one item and preprocess it for each encoder that lacks it; a failure is noted there."""
    prepared = []
    wanting = [line for line in lines if key in line.task.todo]
    try:
        item = decode(sample, wanting[0].task.source.spec.modality)
    except BadItem as error:
        for line in wanting:
            line.task.bad[key] = str(error)
        return []
    for line in wanting:
        spec = line.task.source.spec
        try:
            given = clean_text(item, spec.clean) if spec.modality == "text" else item
            prepared.append((line, line.encoder.preprocess(given)))
        except BadItem as error:
            line.task.bad[key] = str(error)
    return prepared


def decode(sample: Sample, modality: Modality) -> Any:
    """Read one part of a post: uint8 RGB tensor (3, H, W), or raw text. Raises BadItem."""
    if modality == "text":
        assert sample.text is not None
        return read_text(sample.text)
    from .images import decode_image

    assert sample.image is not None
    try:
        raw = sample.image.read_bytes()
    except OSError as error:
        raise BadItem(f"cannot be read: {error.strerror or error}") from error
    return decode_image(raw)


def _settle(corpus: Corpus, contents: Contents, task: Task) -> None:
    """Count every row, write errors.jsonl, merge the parts."""
    spec, report = task.source.spec, task.report
    unreadable = {bad.index: bad for bad in contents.bad if bad.modality == spec.modality}
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
        elif key in task.bad:
            records.append(BadRecord(sample.id, key, file, task.bad[key]))
        elif key in seen:
            report.duplicate += 1
        elif key in task.todo:
            report.encoded += 1
        else:
            report.cached += 1
        if key is not None:
            seen.add(key)
    report.bad = len(records)
    update_errors(task.store.folder, seen, records, posts)
    if report.encoded:
        task.store.merge()
    report.bytes = task.store.bytes


def _map_ahead(pool: ThreadPoolExecutor, call: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """Results in order, with at most `ahead` items in flight, so that memory is bounded by the batch."""
    iterator = iter(items)
    pending = deque(pool.submit(call, item) for item in islice(iterator, ahead))
    while pending:
        result = pending.popleft().result()
        for item in islice(iterator, 1):
            pending.append(pool.submit(call, item))
        yield result
