"""Stage one: embed every post's image and text once, and account for each row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from ..encoders.encoder import Encoded, Encoder, Source
from ..encoders.runtime import Runtime, available_cores, choose_runtime
from ..encoders.word_vectors import WordEncoder, load_fitted, save_fitted
from ..posts.content import hash_corpus
from ..posts.samples import Corpus, Sample
from ..posts.text import clean_text, read_text
from ..spec import BadItem, EncoderSpec, Modality
from ..store.store import FLUSH_SECONDS, Writer
from .cost import Clock
from .plan import EncoderReport, Task, make_task, settle
from .settings import ExtractSettings

TEXT_WINDOW = 4096  # texts that are sorted by length together
HALF_INFINITY = 0x7C00  # its bits in float16; a NaN has more
AHEAD = 32  # items that may wait prepared for an encoder at first,
AHEAD_BYTES = 64 << 20  # and once their size is known: enough to decode while the model is loaded

Progress = Callable[[str, int, int], None]


def extract(
    corpus: Corpus,
    sources: Sequence[Source],
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    merge: bool = True,
    progress: Progress = lambda name, done, total: None,
) -> list[EncoderReport]:
    """Embed what the cache lacks; return one report per spec. Bad items go to `errors.jsonl`, not up the stack.

    Without `merge` the parts stay as they were written, for several processes that share the work.
    """
    contents = hash_corpus(corpus)
    tasks = [make_task(contents, source, cache, tokens=settings.tokens) for source in sources]
    if any(task.todo for task in tasks):  # else torch need not even be imported
        runtime = choose_runtime(settings.device, settings.runtime, streams=settings.streams, compile=settings.compile)
        for modality in ("image", "text"):
            group = [task for task in tasks if task.modality == modality and task.todo]
            if group:
                embed(corpus, group, settings, runtime, progress)
    return [report for task in tasks for report in settle(corpus, contents, task, merge=merge)]


def embed(
    corpus: Corpus, tasks: Sequence[Task], settings: ExtractSettings, runtime: Runtime, progress: Progress
) -> None:
    """Write what tasks of one modality lack, as parts; each item is decoded once; decode, encode and write overlap."""
    index = {key: row for task in tasks for key, row in task.todo.items()}
    workers = settings.workers or available_cores()
    clock = Clock()
    with ExitStack() as stack:
        streams = stack.enter_context(ThreadPoolExecutor(runtime.streams))
        lines = [stack.enter_context(_Line(task, settings, runtime, streams, clock, progress)) for task in tasks]
        decoders = stack.enter_context(ThreadPoolExecutor(workers))

        def prepare(key: str) -> tuple[str, list[tuple[_Line, Any]]]:
            return key, _prepare(corpus.samples[index[key]], key, lines)

        for key, prepared in _map_ahead(decoders, prepare, index):
            for line, item in prepared:
                line.push(key, item)


class _Line:
    """One encoder's way from prepared items to its stores. Whatever ends the run, what was encoded is published."""

    def __init__(
        self,
        task: Task,
        settings: ExtractSettings,
        runtime: Runtime,
        streams: ThreadPoolExecutor,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.task = task
        self.todo = task.todo
        self.settings = settings
        self.runtime = runtime
        self.streams = streams
        self.clock = clock
        self.progress = progress
        self.budget = settings.budget(task.modality, runtime)
        self.window = TEXT_WINDOW if task.modality == "text" else self.budget
        self.waiting: list[tuple[str, Any]] = []
        self.writers = [
            Writer(
                target.store,
                tokens=settings.tokens or target.spec.raw,
                flush_seconds=settings.flush_seconds or FLUSH_SECONDS,
            )
            for target in task.targets
        ]
        self.pool = ThreadPoolExecutor(1)  # writes while the next batches are computed
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
                self.loaded = load_once(self.task.source, self.task.targets[0].store.folder, self.runtime)
            return self.loaded

    def push(self, key: str, prepared: Any) -> None:
        self.waiting.append((key, prepared))
        if len(self.waiting) >= self.window:
            self.drain()

    def drain(self) -> None:
        """Hand over what waits, longest first, so that a batch holds items of like length and memory peaks early."""
        lengths = [self.encoder.length(prepared) for _, prepared in self.waiting]
        order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
        for batch in batches([lengths[at] for at in order], self.budget):
            items = [self.waiting[order[at]] for at in batch]
            while len(self.writes) > 2 * self.runtime.streams:
                self.writes.popleft().result()
            encoded = self.streams.submit(self.encode, [prepared for _, prepared in items])
            self.writes.append(self.pool.submit(self.write, [key for key, _ in items], encoded))
        self.waiting.clear()

    def encode(self, prepared: Sequence[Any]) -> tuple[Encoded, ...]:
        with self.clock.computing(self):
            return self.encoder.encode(prepared)

    def write(self, keys: Sequence[str], encoded: Future[tuple[Encoded, ...]]) -> None:
        results = encoded.result()
        seconds = self.clock.take(self) / len(keys)
        for target, writer, result in zip(self.task.targets, self.writers, results, strict=True):
            for key, pooled, tokens in zip(keys, result.pooled, result.tokens, strict=True):
                if key not in target.todo:
                    continue
                with np.errstate(over="ignore"):  # an overflow becomes infinity, which `unstorable` refuses
                    stored = tokens.astype(target.spec.dtype, copy=False)
                reason = unstorable(target.spec, pooled, stored)
                if reason:
                    self.task.bad[key] = reason
                else:
                    writer.add(key, pooled, stored if writer.tokens else None, seconds=seconds)
        self.done += len(keys)
        self.progress(self.task.source.spec.name, self.done, len(self.todo) - len(self.task.bad))

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
            for writer in self.writers:
                writer.flush()
        for target in self.task.targets:
            target.report.seconds = round(time.perf_counter() - self.started, 3)


def load_once(source: Source, folder: Path, runtime: Runtime) -> Encoder:
    """Load an encoder. One that is fitted on a corpus is fitted by the first of the processes that share its folder."""
    if not source.spec.weights.startswith("fit:"):
        return source.load(runtime)
    with FileLock(folder / ".fit.lock"):
        try:
            return fitted_source(source.specs, folder.parent).load(runtime)
        except ValueError:  # not there, or damaged
            encoder = source.load(runtime)
            save_fitted(encoder, folder)
            return encoder


def fitted_source(specs: tuple[EncoderSpec, ...], cache: Path) -> Source:
    """The encoder whose fit lies in the cache folders of its specs. Raises ValueError where one of them lacks it."""
    sources = [load_fitted(cache / spec.slug, spec) for spec in specs]

    def load(runtime: Runtime) -> Encoder:
        encoder = sources[0].load(runtime)
        assert isinstance(encoder, WordEncoder)
        return encoder if len(specs) == 1 else WordEncoder(specs, encoder.fitted)

    return Source(specs, load)


def batches(lengths: Sequence[int], budget: int) -> Iterator[range]:
    """Cut items sorted by descending length into runs whose padded cost, items x longest, stays within the budget."""
    start = 0
    while start < len(lengths):
        stop = start + max(1, budget // max(1, lengths[start]))
        yield range(start, min(stop, len(lengths)))
        start = stop


def unstorable(spec: EncoderSpec, pooled: NDArray[np.float32], tokens: NDArray[Any]) -> str | None:
    """Why an embedding, as it would be stored, may not be: NaN, infinity, beyond half precision; None if it may."""
    if tokens.dtype == np.float16:  # numpy computes on halves 20 times slower than on their bits
        highest = (tokens.view(np.uint16) & 0x7FFF).max(initial=0)
        finite, beyond = highest <= HALF_INFINITY, highest == HALF_INFINITY
    else:
        finite, beyond = np.isfinite(tokens).all(), False
    if not (finite and np.isfinite(pooled).all()):
        return f"{spec.name} gave NaN or infinity"
    return f"{spec.name} gave values beyond {spec.dtype}; use --dtype float32" if beyond else None


def _prepare(sample: Sample, key: str, lines: Sequence[_Line]) -> list[tuple[_Line, Any]]:
    """Decode one item and preprocess it for each encoder that lacks it; a failure is noted there."""
    prepared = []
    wanting = [line for line in lines if key in line.todo]
    try:
        item = decode(sample, wanting[0].task.modality)
    except BadItem as error:
        for line in wanting:
            line.task.bad[key] = str(error)
        return []
    for line in wanting:
        spec = line.task.source.spec
        try:
            given = clean_text(item, spec.clean) if spec.modality == "text" else item
            prepared.append((line, line.encoder.preprocess(given, key)))
        except BadItem as error:
            line.task.bad[key] = str(error)
    return prepared


def decode(sample: Sample, modality: Modality) -> Any:
    """Read one part of a post: uint8 RGB tensor (3, H, W), or raw text. Raises BadItem."""
    if modality == "text":
        assert sample.text is not None
        return read_text(sample.text)
    from ..posts.images import decode_image

    assert sample.image is not None
    try:
        raw = sample.image.read_bytes()
    except OSError as error:
        raise BadItem(f"cannot be read: {error.strerror or error}") from error
    return decode_image(raw)


def _map_ahead(
    pool: ThreadPoolExecutor, call: Callable[[str], tuple[str, list[tuple[_Line, Any]]]], keys: Iterable[str]
) -> Iterator[tuple[str, list[tuple[_Line, Any]]]]:
    """Results in order, prepared ahead of the encoder within a bound of memory, not of the data."""
    iterator = iter(keys)
    pending = deque(pool.submit(call, key) for key in islice(iterator, AHEAD))
    while pending:
        key, prepared = pending.popleft().result()
        size = sum(getattr(item, "nbytes", 0) for _, item in prepared)
        ahead = max(1, min(AHEAD_BYTES // size, TEXT_WINDOW)) if size else TEXT_WINDOW
        for following in islice(iterator, max(0, ahead - len(pending))):
            pending.append(pool.submit(call, following))
        yield key, prepared
