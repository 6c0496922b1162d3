"""`msa extract --engine ray`: the workers of a Ray cluster embed bounded chunks of what the cache lacks.

Posts and cache must lie on a file system that all nodes share: only paths, keys and reasons are sent.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..encoders.encoder import Source
from ..encoders.runtime import Runtime
from ..posts.content import hash_corpus
from ..posts.samples import Corpus
from ..progress import stage
from ..spec import READS, Reads
from ..store.durable import make_folder, temporary
from .embed import Progress, forget_changed, load_once, show_items
from .plan import EncoderReport, EncoderTask, Target, TaskResult, finish_tasks, plan_tasks
from .ray_cluster import connected, need_ray
from .ray_worker import SHARED, ChunkResult, EmbedWorker, ItemChunk, OpenRequest, ReopenRequest
from .settings import ExtractSettings
from .worker_pool import ATTEMPTS, POLL_SECONDS, RayRunError, WorkerDied, WorkerPool

FIRST_ITEMS = 256  # of a chunk, while it is not known how fast a worker is
CHUNK_SECONDS = 10.0  # of work: what a dead worker costs at most, and how rarely a worker's pipes run empty
FEWEST, MOST = 16, 4096  # items of a chunk
GRACE_SECONDS = 60.0  # for the chunks that still run when another has failed
VISIBLE_SECONDS = 90.0  # until a network file system shows what other nodes wrote

BadItems = Mapping[EncoderTask, dict[str, str]]  # task -> content key -> reason


def extract_on_ray(
    corpus: Corpus,
    sources: Sequence[Source],
    request: OpenRequest | ReopenRequest,
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    address: str = "",
    progress: Progress = show_items,
) -> list[EncoderReport]:
    """The work of `embed_corpus` on a Ray cluster: the same content and the same reports.

    `request` opens the sources on a worker. An empty `address` means that of RAY_ADDRESS, else a cluster of this
    machine alone that ends with the run. Raises RayRunError.
    """
    need_ray()
    make_folder(cache)
    contents = hash_corpus(corpus, cache)
    tasks = plan_tasks(contents, sources, cache, tokens=settings.tokens)
    for task in tasks:
        if task.todo and task.source.spec.weights.startswith("fit:"):  # on the whole corpus, which no worker has
            load_once(task.source, cache, Runtime())
    pending = [task for task in tasks if task.todo]
    results: dict[EncoderTask, TaskResult] = {}
    if pending:
        started = time.perf_counter()
        mark = temporary(cache)
        try:
            mark.touch()
            stage("embedding on Ray")
            with connected(address) as ray:
                pool = WorkerPool(ray, EmbedWorker, (request, mark.absolute(), settings), device=settings.device)
                driver = Driver(pool, corpus, pending, progress)
                bad = driver.run()
        finally:
            mark.unlink(missing_ok=True)
        forget_changed(corpus, contents, cache, bad.values())
        _wait_for_files(bad)
        seconds = time.perf_counter() - started
        results = {task: TaskResult(found, seconds, driver.cut[task]) for task, found in bad.items()}
    return finish_tasks(corpus, contents, tasks, results)


class Driver:
    """Assigns chunks to the workers and records their results; a dead worker's chunk goes to another one."""

    def __init__(self, pool: WorkerPool, corpus: Corpus, tasks: Sequence[EncoderTask], progress: Progress) -> None:
        self.pool = pool
        self.corpus = corpus
        self.progress = progress
        self.bad: dict[EncoderTask, dict[str, str]] = {task: {} for task in tasks}
        self.cut: dict[EncoderTask, set[str]] = {task: set() for task in tasks}
        self.done = dict.fromkeys(tasks, 0)
        self.rates: dict[Reads, float] = {}  # items a second of one worker
        self.lacking = {  # key -> number of every item that some spec lacks
            reads: {key: item for task in tasks if task.reads == reads for key, item in task.todo.items()}
            for reads in READS
        }
        self.left = sum(map(len, self.lacking.values()))
        self.new_chunks = self._make_chunks()
        self.retries: deque[ItemChunk] = deque()

    def run(self) -> BadItems:
        """Embed everything; return what was bad. Raises RayRunError for what no retry helps."""
        try:
            while self.left or self.retries or self.pool.running:
                self.assign()
                self.collect()
        except RayRunError:
            until = time.monotonic() + GRACE_SECONDS
            while self.pool.running and time.monotonic() < until:
                with suppress(RayRunError):  # only the first is reported
                    self.collect()
            raise
        finally:
            self.pool.close()
        return self.bad

    def assign(self) -> None:
        """Give each idle worker a chunk, those of workers that died first."""
        self.pool.start_workers()
        while self.pool.idle and (self.retries or self.left):
            chunk = self.retries.popleft() if self.retries else next(self.new_chunks)
            worker = self.pool.idle[0]
            self.pool.assign(worker, worker.embed.remote(chunk), chunk)

    def collect(self) -> None:
        """Record what workers finished within a moment; queue the chunks of those that died again."""
        for _, chunk, outcome in self.pool.collect():
            if isinstance(outcome, WorkerDied):
                self._retry(chunk, outcome.error)
            else:
                self._record(chunk, outcome)

    def _retry(self, chunk: ItemChunk, error: Exception) -> None:
        if chunk.attempt + 1 >= ATTEMPTS:
            first = chunk.samples[0].file_name(chunk.reads)
            raise RayRunError(
                f"{ATTEMPTS} Ray workers died over the same {len(chunk.samples)} items, of which {first} is the first; "
                "where memory was short, take smaller batches; what was written stays, run the command again"
            ) from error
        self.retries.append(replace(chunk, attempt=chunk.attempt + 1))

    def _record(self, chunk: ItemChunk, result: ChunkResult) -> None:
        """Keep a chunk's bad items and its speed. Raises RayRunError where this machine sees a file the node lacks."""
        for file in result.unseen:
            if file.exists():
                raise RayRunError(f"node {result.node} does not see {file}; {SHARED}")
        self.rates[chunk.reads] = len(chunk.samples) / max(result.seconds, 1e-3)
        for task in self.bad:
            bad = result.bad.get(task.source.spec.fingerprint, {})
            self.bad[task].update(bad)
            self.cut[task] |= result.cut.get(task.source.spec.fingerprint, frozenset()) & task.todo.keys()
            lacking = sum(key in task.todo for key in chunk.keys) if task.reads == chunk.reads else 0
            if lacking:
                self.done[task] += lacking - len(bad)
                self.progress(task.source.spec.name, self.done[task], len(task.todo) - len(self.bad[task]))

    def _make_chunks(self) -> Iterator[ItemChunk]:
        """Chunks of about CHUNK_SECONDS, smaller towards the end so that no worker is left alone with the rest."""
        for reads in READS:
            keys, items = iter(self.lacking[reads].items()), self.corpus.items(reads)
            while some := dict(islice(keys, self._size(reads))):
                self.left -= len(some)
                yield ItemChunk(reads, tuple(some), tuple(items[item] for item in some.values()))

    def _size(self, reads: Reads) -> int:
        fitting = int(self.rates[reads] * CHUNK_SECONDS) if reads in self.rates else FIRST_ITEMS
        return max(FEWEST, min(fitting, MOST, self.left // (2 * max(1, len(self.pool)))))


def _wait_for_files(bad: BadItems) -> None:
    """Return once this machine sees all that the workers wrote. Raises RayRunError after VISIBLE_SECONDS."""
    until = time.monotonic() + VISIBLE_SECONDS
    while lost := sum(_count_lost(target, found) for task, found in bad.items() for target in task.targets):
        if time.monotonic() > until:
            raise RayRunError(f"{lost} items that Ray workers wrote are not in the cache of this machine; {SHARED}")
        time.sleep(POLL_SECONDS)


def _count_lost(target: Target, bad: Mapping[str, str]) -> int:
    wanted = [key for key in target.todo if key not in bad]
    if not wanted:
        return 0
    target.store.refresh()
    return int((~target.store.find(wanted, tokens=target.tokens)).sum())
