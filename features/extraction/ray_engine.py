"""`msa extract --engine ray`: the workers of a Ray cluster embed bounded chunks of what the cache lacks.

Posts and cache must lie on a file system that all nodes share: only paths, keys and reasons travel.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..encoders.encoder import Source
from ..encoders.runtime import Runtime
from ..posts.content import hash_corpus
from ..posts.samples import Corpus
from ..spec import Modality
from ..store.durable import temporary
from .embed import Progress, load_once
from .plan import EncoderReport, Target, Task, make_task, settle
from .ray_cluster import connected, need_ray
from .ray_worker import SHARED, Chunk, Outcome, Recipe, Worker, item_file
from .settings import ExtractSettings
from .worker_pool import ATTEMPTS, POLL_SECONDS, Crew, Death, RayRunError

FIRST_ITEMS = 256  # of a chunk, while it is not known how fast a worker is
CHUNK_SECONDS = 10.0  # of work: what a death costs at most, and how rarely a worker's pipes run empty
FEWEST, MOST = 16, 4096  # items of a chunk
GRACE_SECONDS = 60.0  # for the chunks in hand when another has failed
VISIBLE_SECONDS = 90.0  # until a network file system shows what other nodes wrote
MODALITIES: tuple[Modality, ...] = ("image", "text")


def extract_on_ray(
    corpus: Corpus,
    sources: Sequence[Source],
    recipe: Recipe,
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    address: str = "",
    progress: Progress = lambda name, done, total: None,
) -> list[EncoderReport]:
    """What `features.extract.extract` does, computed by a Ray cluster: the same content and the same reports.

    `recipe` opens the sources on a worker. An empty `address` means that of RAY_ADDRESS, else a cluster of this
    machine alone that ends with the run. Raises RayRunError.
    """
    need_ray()
    contents = hash_corpus(corpus)
    tasks = [make_task(contents, source, cache, tokens=settings.tokens) for source in sources]
    for task in tasks:
        if task.todo and task.source.spec.weights.startswith("fit:"):  # on the whole corpus, which no worker has
            load_once(task.source, task.targets[0].store.folder, Runtime())
    if any(task.todo for task in tasks):
        started = time.perf_counter()
        mark = temporary(cache)
        try:
            mark.touch()
            with connected(address) as ray:
                crew = Crew(ray, Worker, (recipe, mark.absolute(), settings), device=settings.device)
                Driver(crew, corpus, tasks, progress).run()
        finally:
            mark.unlink(missing_ok=True)
        _wait_for_files(tasks, tokens=settings.tokens)
        for target in (target for task in tasks for target in task.targets if target.todo):
            target.report.seconds = round(time.perf_counter() - started, 3)
    return [report for task in tasks for report in settle(corpus, contents, task)]


class Driver:
    """Deals chunks to the crew and gathers what came of them; what a dead worker had in hand is dealt again."""

    def __init__(self, crew: Crew, corpus: Corpus, tasks: Sequence[Task], progress: Progress) -> None:
        self.crew = crew
        self.corpus = corpus
        self.tasks = [task for task in tasks if task.todo]
        self.progress = progress
        self.done = {task.source.spec: 0 for task in self.tasks}
        self.rates: dict[Modality, float] = {}  # items a second of one worker
        self.lacking = {modality: self._lacking(modality) for modality in MODALITIES}
        self.left = sum(map(len, self.lacking.values()))
        self.fresh = self.cut()
        self.again: deque[Chunk] = deque()

    def run(self) -> None:
        """Embed everything. Raises RayRunError for what no retry mends."""
        try:
            while self.left or self.again or self.crew.running:
                self.deal()
                self.gather()
        except RayRunError:
            until = time.monotonic() + GRACE_SECONDS
            while self.crew.running and time.monotonic() < until:
                with suppress(RayRunError):  # the first is the one to tell
                    self.gather()
            raise
        finally:
            self.crew.dismiss()

    def deal(self) -> None:
        """Give each idle worker a chunk."""
        self.crew.recruit()
        while self.crew.idle and (self.again or self.left):
            chunk = self.again.popleft() if self.again else next(self.fresh)
            worker = self.crew.idle[0]
            self.crew.give(worker, worker.embed.remote(chunk), chunk)

    def gather(self) -> None:
        """Take in what workers finished, or died over, within a moment."""
        for _, chunk, outcome in self.crew.gather():
            if isinstance(outcome, Death):
                self.retry(chunk, outcome.error)
            else:
                self.note(chunk, outcome)

    def retry(self, chunk: Chunk, error: Exception) -> None:
        """Deal a chunk again, but not for ever."""
        if chunk.attempt + 1 >= ATTEMPTS:
            first = item_file(chunk.samples[0], chunk.modality) or f"the text of {chunk.samples[0].id}"
            raise RayRunError(
                f"{ATTEMPTS} Ray workers died over the same {len(chunk.samples)} items, of which {first} is the first; "
                "where memory was short, take smaller batches; what was written stays, run the command again"
            ) from error
        self.again.append(replace(chunk, attempt=chunk.attempt + 1))

    def note(self, chunk: Chunk, outcome: Outcome) -> None:
        """Keep what a chunk found bad, and how fast it went. A file that only the worker misses is the node's fault."""
        for file in outcome.unseen:
            if file.exists():
                raise RayRunError(f"node {outcome.node} does not see {file}; {SHARED}")
        self.rates[chunk.modality] = len(chunk.samples) / max(outcome.seconds, 1e-3)
        for task in self.tasks:
            spec = task.source.spec
            bad = outcome.bad.get(spec.fingerprint, {})
            task.bad.update(bad)
            keys = {key for target in task.targets for key in chunk.lacking.get(target.spec.fingerprint, ())}
            if keys:
                self.done[spec] += len(keys) - len(bad)
                self.progress(spec.name, self.done[spec], len(task.todo) - len(task.bad))

    def cut(self) -> Iterator[Chunk]:
        """Chunks of about CHUNK_SECONDS, smaller towards the end so that no worker is left alone with the rest."""
        for modality in MODALITIES:
            items = iter(self.lacking[modality].items())
            targets = [target for task in self.tasks if task.modality == modality for target in task.targets]
            while some := list(islice(items, self._size(modality))):
                self.left -= len(some)
                samples = tuple(self.corpus.samples[row] for _, row in some)
                yield Chunk(modality, samples, {t.spec.fingerprint: _positions(t, some) for t in targets})

    def _size(self, modality: Modality) -> int:
        fitting = int(self.rates[modality] * CHUNK_SECONDS) if modality in self.rates else FIRST_ITEMS
        return max(FEWEST, min(fitting, MOST, self.left // (2 * max(1, len(self.crew)))))

    def _lacking(self, modality: Modality) -> dict[str, int]:
        """Key -> row of every item that some spec lacks."""
        return {key: row for task in self.tasks if task.modality == modality for key, row in task.todo.items()}


def _positions(target: Target, items: Sequence[tuple[str, int]]) -> dict[str, int]:
    return {key: at for at, (key, _) in enumerate(items) if key in target.todo}


def _wait_for_files(tasks: Sequence[Task], *, tokens: bool) -> None:
    """Return once all that workers wrote is seen here; RayRunError where that does not come to be."""
    until = time.monotonic() + VISIBLE_SECONDS
    while lost := sum(_lost(target, task, tokens=tokens) for task in tasks for target in task.targets):
        if time.monotonic() > until:
            raise RayRunError(f"{lost} items that Ray workers wrote are not in the cache of this machine; {SHARED}")
        time.sleep(POLL_SECONDS)


def _lost(target: Target, task: Task, *, tokens: bool) -> int:
    wanted = [key for key in target.todo if key not in task.bad]
    if not wanted:
        return 0
    target.store.refresh()
    return int((~target.store.find(wanted, tokens=tokens or target.spec.raw)).sum())
