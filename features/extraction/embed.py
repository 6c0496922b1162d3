"""The extraction loop: embeds each image and text once; decoding, encoding and writing overlap."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blob import content_key
from ..encoders.encoder import Encoded, Encoder, Source, WholePost
from ..encoders.runtime import Runtime, available_cores
from ..encoders.word_vectors import load_fitted, save_fitted
from ..messages import notify
from ..posts.content import Contents, forget_keys, hash_corpus, post_key, text_key
from ..posts.samples import Corpus, Sample, read_file
from ..posts.text import clean_text, read_text
from ..progress import detail, stage, step
from ..spec import READS, BadItem, EncoderSpec, Reads
from ..store.durable import make_folder
from ..store.locks import lock
from ..store.writer import FLUSH_SECONDS, Writer
from .batches import batches, encode_in_halves
from .cost import CostMeter
from .plan import EncoderReport, EncoderTask, TaskResult, finish_tasks, plan_tasks
from .settings import ExtractSettings

TEXT_WINDOW = 4096  # texts sorted by length together
HALF_INFINITY = 0x7C00  # the bits of infinity in float16; those of a NaN are more
AHEAD = 32  # items prepared ahead of an encoder while their size is unknown,
AHEAD_BYTES = 64 << 20  # and once it is known: enough to decode while the model loads
CHANGED = "changed while it was extracted; run the command again"

Progress = Callable[[str, int, int], None]  # encoder, items done, items to do


def show_items(encoder: str, done: int, total: int) -> None:
    """Report the items that an encoder has embedded."""
    step(encoder, done, total, "items")


def embed_corpus(
    corpus: Corpus,
    sources: Sequence[Source],
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    merge: bool = True,
    progress: Progress = show_items,
) -> list[EncoderReport]:
    """Embed what the cache lacks; return one report per spec. Bad items are listed in `errors.jsonl`, not raised.

    `merge` False leaves the parts as they were written, for several processes that share the work.
    """
    make_folder(cache)
    contents = hash_corpus(corpus, cache)
    tasks = plan_tasks(contents, sources, cache, tokens=settings.tokens)
    results: dict[EncoderTask, TaskResult] = {}
    if any(task.todo for task in tasks):  # else torch need not even be imported
        runtime = settings.choose_runtime()
        for reads in READS:
            group = [task for task in tasks if task.reads == reads and task.todo]
            if group:
                stage(f"embedding {reads}s")
                results |= zip(group, embed_missing(corpus, group, settings, runtime, progress), strict=True)
    stage("writing the cache")
    forget_changed(corpus, contents, cache, [result.bad for result in results.values()])
    return finish_tasks(corpus, contents, tasks, results, merge=merge)


def embed_missing(
    corpus: Corpus, tasks: Sequence[EncoderTask], settings: ExtractSettings, runtime: Runtime, progress: Progress
) -> list[TaskResult]:
    """Write what tasks that read the same lack, as parts; each item is decoded once. Returns one result per task."""
    index = {key: item for task in tasks for key, item in task.todo.items()}
    items = corpus.items(tasks[0].reads)
    meter = CostMeter()
    with ExitStack() as stack:
        streams = stack.enter_context(ThreadPoolExecutor(runtime.streams, "encode"))
        queues = [
            stack.enter_context(EncoderQueue(task, settings, runtime, streams, meter, progress)) for task in tasks
        ]
        decoders = stack.enter_context(ThreadPoolExecutor(settings.workers or available_cores(), "decode"))

        def prepare(key: str) -> Prepared:
            return key, _prepare(items[index[key]], key, queues)

        for key, prepared in _map_ahead(decoders, prepare, index):
            for queue, item in prepared:
                queue.push(key, item)
    return [TaskResult(queue.bad, queue.seconds, queue.cut) for queue in queues]


@dataclass(eq=False)
class EncoderQueue:
    """Takes one encoder's prepared items, encodes them in batches and writes the results to its stores.

    On leaving the context, after an error too, everything that was encoded is published.
    """

    task: EncoderTask
    settings: ExtractSettings
    runtime: Runtime
    streams: ThreadPoolExecutor
    meter: CostMeter
    progress: Progress
    bad: dict[str, str] = field(default_factory=dict)  # content key -> reason
    cut: set[str] = field(default_factory=set)  # keys of the texts whose end is beyond the encoder's limit
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.budget = self.settings.budget(self.task.source.spec.batched_by, self.runtime)
        images = self.settings.budget("image", self.runtime)
        self.window = TEXT_WINDOW if self.task.reads == "text" else images
        self.waiting: list[tuple[str, Any]] = []
        flush_seconds = self.settings.flush_seconds or FLUSH_SECONDS
        self.writers = [
            Writer(target.store, tokens=target.tokens, flush_seconds=flush_seconds) for target in self.task.targets
        ]
        self.pool = ThreadPoolExecutor(1, "write")  # writes while the next batches are computed
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
                detail(f"loading {self.task.source.spec.name}")
                self.loaded = load_once(self.task.source, self.task.targets[0].store.folder.parent, self.runtime)
                detail("")
            return self.loaded

    def push(self, key: str, prepared: Any) -> None:
        """Add an item; those that wait are submitted as soon as they fill the window."""
        self.waiting.append((key, prepared))
        if len(self.waiting) >= self.window:
            self.submit_waiting()

    def submit_waiting(self) -> None:
        """Submit batches, longest items first: a batch holds items of similar length, and memory peaks early."""
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
        with self.meter.computing(self):
            return encode_in_halves(self.encoder, prepared, self.shrink)

    def shrink(self, batch: Sequence[Any]) -> None:
        """Make no more batches that are larger than this one."""
        cost = len(batch) * max(map(self.encoder.length, batch))
        if cost < self.budget:
            self.budget = cost
            notify(f"not enough memory for {self.task.source.spec.name}: goes on with batches of {len(batch)}")

    def write(self, keys: Sequence[str], encoded: Future[tuple[Encoded, ...]]) -> None:
        results = encoded.result()
        seconds = self.meter.take(self) / len(keys)
        for target, writer, result in zip(self.task.targets, self.writers, results, strict=True):
            for key, pooled, tokens in zip(keys, result.pooled, result.tokens, strict=True):
                if key not in target.todo:
                    continue
                with np.errstate(over="ignore"):  # an overflow becomes infinity, which `unstorable` refuses
                    stored = tokens.astype(target.spec.dtype, copy=False)
                reason = unstorable(target.spec, pooled, stored)
                if reason:
                    self.bad[key] = reason
                else:
                    writer.add(key, pooled, stored if target.tokens else None, seconds=seconds)
        self.done += len(keys)
        self.progress(self.task.source.spec.name, self.done, len(self.task.todo) - len(self.bad))

    def __enter__(self) -> EncoderQueue:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.submit_waiting()
            while self.writes:
                self.writes.popleft().result()
        finally:
            self.pool.shutdown()
            for writer in self.writers:
                writer.flush()
        self.seconds = time.perf_counter() - self.started


Prepared = tuple[str, list[tuple[EncoderQueue, Any]]]  # content key, and the model input for each encoder that lacks it


def load_once(source: Source, cache: Path, runtime: Runtime) -> Encoder:
    """Load an encoder. One that is fitted on a corpus is fitted by the first of the processes that share its cache."""
    if not source.spec.weights.startswith("fit:"):
        return source.load(runtime)
    with lock(cache / source.spec.slug / ".fit.lock"):
        try:
            return load_fitted(source.specs, cache).load(runtime)
        except ValueError:  # absent or damaged
            encoder = source.load(runtime)
            save_fitted(encoder, cache)
            return encoder


def unstorable(spec: EncoderSpec, pooled: NDArray[np.float32], tokens: NDArray[Any]) -> str | None:
    """Why an embedding in its stored format is refused: NaN, infinity, beyond half precision; None if it is fine."""
    if tokens.dtype == np.float16:  # numpy computes on halves 20 times slower than on their bits
        highest = (tokens.view(np.uint16) & 0x7FFF).max(initial=0)
        finite, beyond = highest <= HALF_INFINITY, highest == HALF_INFINITY
    else:
        finite, beyond = np.isfinite(tokens).all(), False
    if not (finite and np.isfinite(pooled).all()):
        return f"{spec.name} gave NaN or infinity"
    return f"{spec.name} gave values beyond {spec.dtype}; use --dtype float32" if beyond else None


def decode(sample: Sample, reads: Reads, *, key: str | None = None, using: ExitStack | None = None) -> Any:
    """Read one part of a post: uint8 RGB tensor (3, H, W), or raw text, or both. Raises BadItem.

    With its content `key`, a file that has changed since it was hashed is refused. `using` as in `decode_image`.
    """
    text = read_text(sample.text) if reads != "image" and sample.text is not None else None
    image = read_file(sample.image, "image") if reads != "text" and sample.image is not None else None
    parts = None if image is None else content_key(image), None if text is None else text_key(text)
    if key not in (None, post_key(*parts) or parts[0] or parts[1]):
        raise BadItem(CHANGED)
    if image is None:
        return text
    from ..posts.images import decode_image

    pixels = decode_image(image, using)
    return pixels if text is None else WholePost(pixels, text)


def forget_changed(corpus: Corpus, contents: Contents, cache: Path, bad: Iterable[Mapping[str, str]]) -> None:
    """Drop items whose content was not that of their key from the indexes, in case these were wrong."""
    keys = {key for reasons in bad for key, reason in reasons.items() if reason == CHANGED}
    if keys:
        forget_keys(corpus.root, cache, contents.parts(keys))


def _prepare(sample: Sample, key: str, queues: Sequence[EncoderQueue]) -> list[tuple[EncoderQueue, Any]]:
    """Decode one item and preprocess it for each encoder that lacks it; record what fails as bad."""
    prepared = []
    lacking = [queue for queue in queues if key in queue.task.todo]
    with ExitStack() as using:
        try:
            item = decode(sample, lacking[0].task.reads, key=key, using=using)
        except (BadItem, MemoryError) as error:
            for queue in lacking:
                queue.bad[key] = str(error) or "not enough memory to read it"
            return []
        for queue in lacking:
            spec = queue.task.source.spec
            encoder = queue.encoder  # a model that does not fit into memory is no fault of the item
            try:
                cleaned = clean_text(item, spec.clean) if spec.reads == "text" else item
                prepared.append((queue, encoder.preprocess(cleaned, key)))
                if encoder.is_cut(cleaned, prepared[-1][1]):
                    queue.cut.add(key)
            except BadItem as error:
                queue.bad[key] = str(error)
            except MemoryError:
                queue.bad[key] = f"not enough memory to prepare it for {spec.name}"
    return prepared


def _map_ahead(pool: ThreadPoolExecutor, call: Callable[[str], Prepared], keys: Iterable[str]) -> Iterator[Prepared]:
    """Results in order, prepared ahead of the encoder; memory is bounded whatever the number of items."""
    iterator = iter(keys)
    pending = deque(pool.submit(call, key) for key in islice(iterator, AHEAD))
    while pending:
        key, prepared = pending.popleft().result()
        size = sum(getattr(item, "nbytes", 0) for _, item in prepared)
        ahead = max(1, min(AHEAD_BYTES // size, TEXT_WINDOW)) if size else TEXT_WINDOW
        for following in islice(iterator, max(0, ahead - len(pending))):
            pending.append(pool.submit(call, following))
        yield key, prepared
