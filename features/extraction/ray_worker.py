"""A worker of `--engine ray`: one process that opens the driver's encoders once and embeds chunk after chunk."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache as keep
from pathlib import Path

from ..encoders.encoder import Source
from ..encoders.runtime import choose_runtime
from ..encoders.sources import EncoderRequest, open_sources
from ..encoders.zoo import ENCODERS
from ..posts.samples import Corpus, Sample
from ..spec import EncoderSpec, Modality
from ..store.store import Store
from .embed import embed, fitted_source
from .plan import EncoderReport, Target, Task
from .settings import ExtractSettings

SHARED = "posts, weights and cache must lie on a file system that all nodes of the cluster share, under the same path"


@dataclass(frozen=True)
class Recipe:
    """How a worker opens the driver's encoders: by the same request in the same folder; fitted ones from the cache."""

    request: EncoderRequest
    specs: tuple[tuple[EncoderSpec, ...], ...]  # of each source
    cache: Path
    folder: Path

    @classmethod
    def of(cls, request: EncoderRequest, sources: Sequence[Source], cache: Path) -> Recipe:
        """The recipe of sources that this process opened with a request."""
        plain = replace(request, text=tuple(name for name in request.text if not _is_fit(name)))
        return cls(plain, tuple(source.specs for source in sources), cache.absolute(), Path.cwd())

    def open(self) -> list[Source]:
        """The sources, in the driver's order. Raises ValueError where this node would give other numbers."""
        with suppress(OSError):
            os.chdir(self.folder)  # relative paths of models and posts count from there
        nothing = Corpus(self.folder, "table", [])
        opened = open_sources(self.request, nothing, self.cache) if self.request.pairs() else []
        known = {source.specs: source for source in opened}
        return [self._source(specs, known) for specs in self.specs]

    def _source(self, specs: tuple[EncoderSpec, ...], known: Mapping[tuple[EncoderSpec, ...], Source]) -> Source:
        if specs[0].weights.startswith("fit:"):
            return fitted_source(specs, self.cache)
        if specs not in known:
            raise ValueError(
                f"encoder {specs[0].name!r} is another on node {socket.gethostname()}, with other weights or versions; "
                "install the same on all nodes"
            )
        return known[specs]


@dataclass(frozen=True)
class Chunk:
    """Some items of one modality: the posts that stand for them, and the keys that each spec lacks.

    `lacking`: fingerprint -> key -> index of its sample. `attempt` counts the workers that died over it.
    """

    modality: Modality
    samples: tuple[Sample, ...]
    lacking: Mapping[str, Mapping[str, int]]
    attempt: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a chunk on a node.

    `bad`: fingerprint of a source's first spec -> key -> reason. `unseen`: files of bad items that are not there.
    """

    node: str
    seconds: float
    bad: Mapping[str, Mapping[str, str]]
    unseen: Sequence[Path]


class Worker:
    """Lives in a process of its own, with so many cores, or a GPU."""

    def __init__(self, recipe: Recipe, mark: Path, settings: ExtractSettings, *, cores: int, gpu: bool) -> None:
        self.recipe = recipe
        self.mark = mark
        device = ("cuda" if gpu else "cpu") if settings.device == "auto" else settings.device.partition(":")[0]
        self.settings = replace(settings, device=device, workers=settings.workers or cores)
        self.streams = settings.streams or (cores if device == "cpu" else 0)

    def start(self) -> None:
        """Find the encoders and their stores. Raises ValueError where this node lacks what the driver has."""
        if not self.mark.exists():
            raise ValueError(f"node {socket.gethostname()} does not see the cache folder {self.mark.parent}; {SHARED}")
        settings = self.settings
        self.runtime = choose_runtime(settings.device, settings.runtime, streams=self.streams, compile=settings.compile)
        self.sources = [Source(source.specs, keep(source.load)) for source in self.recipe.open()]
        self.stores = {spec: Store.open(self.recipe.cache, spec) for source in self.sources for spec in source.specs}

    def embed(self, chunk: Chunk) -> Outcome:
        """Write what a chunk lacks, as parts; where another worker died over it, only what that one did not."""
        started = time.perf_counter()
        if chunk.attempt:
            for store in self.stores.values():
                store.refresh()
        tasks = [Task(source, [self._target(spec, chunk) for spec in source.specs]) for source in self.sources]
        tasks = [task for task in tasks if task.todo]
        if tasks:
            corpus = Corpus(self.recipe.folder, "table", chunk.samples)
            embed(corpus, tasks, self.settings, self.runtime, lambda name, done, total: None)
        bad = {task.source.spec.fingerprint: task.bad for task in tasks}
        rows = {task.todo[key] for task in tasks for key in task.bad}
        files = [item_file(chunk.samples[row], chunk.modality) for row in sorted(rows)]
        unseen = [file for file in files if file is not None and not file.exists()]
        return Outcome(socket.gethostname(), time.perf_counter() - started, bad, unseen)

    def _target(self, spec: EncoderSpec, chunk: Chunk) -> Target:
        store, todo = self.stores[spec], dict(chunk.lacking.get(spec.fingerprint, {}))
        if chunk.attempt:
            there = store.find(list(todo), tokens=self.settings.tokens or store.spec.raw)
            todo = {key: row for (key, row), known in zip(todo.items(), there, strict=True) if not known}
        return Target(spec, store, EncoderReport(spec.name, spec.modality, spec.fingerprint, str(store.folder)), todo)


def item_file(sample: Sample, modality: Modality) -> Path | None:
    """Where one part of a post lies; None for a text that stands in a table."""
    origin = sample.image if modality == "image" else sample.text
    return origin if isinstance(origin, Path) else None


def _is_fit(name: str) -> bool:
    known = ENCODERS.get(name.partition("@")[0])
    return known is not None and known.origin == "fitted on the corpus"
