"""A worker of `--engine ray`: a process that opens the driver's encoders once and embeds chunk after chunk."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache as keep
from pathlib import Path

from ..encoders.encoder import Source
from ..encoders.runtime import Runtime
from ..encoders.sources import EncoderRequest, open_sources, reopen
from ..encoders.word_vectors import load_fitted
from ..encoders.zoo import ENCODERS
from ..posts.samples import Corpus, Sample
from ..posts.text import clean_text
from ..spec import BadItem, EncoderSpec, Reads
from ..store.store import Store
from .embed import decode, embed_missing
from .plan import EncoderTask, find_missing
from .settings import ExtractSettings

SHARED = "posts, weights and cache must lie on a file system that all nodes of the cluster share, under the same path"


@dataclass(frozen=True)
class OpenRequest:
    """How a worker opens the driver's encoders: by the same request in the same folder; fitted ones from the cache."""

    request: EncoderRequest
    specs: tuple[tuple[EncoderSpec, ...], ...]  # of each source
    cache: Path
    folder: Path

    @classmethod
    def of(cls, request: EncoderRequest, sources: Sequence[Source], cache: Path) -> OpenRequest:
        """The request for sources that this process opened."""
        plain = replace(request, text=tuple(name for name in request.text if not _is_fit(name)))
        return cls(plain, tuple(source.specs for source in sources), cache.absolute(), Path.cwd())

    def open(self) -> list[Source]:
        """The sources, in the driver's order. Raises ValueError where this node would give other numbers."""
        with suppress(OSError):
            os.chdir(self.folder)  # relative paths of models and posts start there
        opened = (
            open_sources(self.request, Corpus(self.folder, "table", []), self.cache) if self.request.pairs() else []
        )
        known = {source.specs: source for source in opened}
        for specs in self.specs:
            if specs[0].weights.startswith("fit:"):
                known[specs] = load_fitted(specs, self.cache)
            elif specs not in known:
                raise ValueError(
                    f"encoder {specs[0].name!r} is another on node {socket.gethostname()}, with other weights or "
                    "versions; install the same on all nodes"
                )
        return [known[specs] for specs in self.specs]


@dataclass(frozen=True)
class ReopenRequest:
    """How the encoders of these specs are opened again, each as the cache beside it in `known` knows it."""

    specs: tuple[EncoderSpec, ...]
    known: tuple[Path, ...]
    cache: Path  # where a worker writes embeddings
    folder: Path
    local_files_only: bool = False

    def open(self) -> list[Source]:
        """The sources, in the order of the specs. Raises ValueError where this node would give other numbers."""
        with suppress(OSError):
            os.chdir(self.folder)
        pairs = zip(self.specs, self.known, strict=True)
        return [reopen(spec, known, local_files_only=self.local_files_only) for spec, known in pairs]


@dataclass(frozen=True)
class ItemChunk:
    """Some items, read alike: their content keys, and a post for each. `attempt` counts the workers it killed."""

    reads: Reads
    keys: tuple[str, ...]
    samples: tuple[Sample, ...]
    attempt: int = 0


@dataclass(frozen=True)
class ChunkResult:
    """What embedding a chunk gave on a node."""

    node: str
    seconds: float
    bad: Mapping[str, Mapping[str, str]]  # fingerprint of a source's first spec -> key -> reason
    cut: Mapping[str, Set[str]]  # fingerprint -> keys of texts beyond the encoder's limit; on a retry, stored ones, too
    unseen: Sequence[Path]  # files of bad items that are not there


class EmbedWorker:
    """A Ray actor in a process of its own, with `cores` CPU cores or a GPU."""

    def __init__(
        self, request: OpenRequest | ReopenRequest, mark: Path, settings: ExtractSettings, *, cores: int, gpu: bool
    ) -> None:
        """`mark` is a file that the driver made in the cache folder, to see whether this node shares it."""
        self.request = request
        self.mark = mark
        device = ("cuda" if gpu else "cpu") if settings.device == "auto" else settings.device.partition(":")[0]
        streams = settings.streams or (cores if device == "cpu" else 0)
        self.settings = replace(settings, device=device, workers=settings.workers or cores, streams=streams)
        self.runtime: Runtime
        self.sources: list[Source] = []  # each loads its model once
        self.stores: dict[EncoderSpec, Store] = {}

    def start(self) -> None:
        """Open the encoders and their stores. Raises ValueError where this node lacks something the driver has."""
        if not self.mark.exists():
            raise ValueError(f"node {socket.gethostname()} does not see the cache folder {self.mark.parent}; {SHARED}")
        self.runtime = self.settings.choose_runtime()
        self.sources = [Source(source.specs, keep(source.load)) for source in self.request.open()]
        self.stores = {spec: Store.open(self.request.cache, spec) for source in self.sources for spec in source.specs}

    def embed(self, chunk: ItemChunk) -> ChunkResult:
        """Write what the stores lack of a chunk, as parts; on a retry, only what the dead worker had not written."""
        started = time.perf_counter()
        if chunk.attempt:
            for store in self.stores.values():
                store.refresh()
        items = {key: at for at, key in enumerate(chunk.keys)}
        tasks = [
            EncoderTask(
                source, [find_missing(self.stores[spec], items, tokens=self.settings.tokens) for spec in source.specs]
            )
            for source in self.sources
            if source.spec.reads == chunk.reads
        ]
        corpus = Corpus(self.request.folder, "table", chunk.samples)
        results = embed_missing(corpus, tasks, self.settings, self.runtime, lambda name, done, total: None)
        bad = {task.source.spec.fingerprint: result.bad for task, result in zip(tasks, results, strict=True)}
        cut = {
            task.source.spec.fingerprint: result.cut | self._cut_before(chunk, task)
            for task, result in zip(tasks, results, strict=True)
        }
        rows = {task.todo[key] for task, result in zip(tasks, results, strict=True) for key in result.bad}
        files = [chunk.samples[row].file(chunk.reads) for row in sorted(rows)]
        unseen = [file for file in files if file is not None and not file.exists()]
        return ChunkResult(socket.gethostname(), time.perf_counter() - started, bad, cut, unseen)

    def _cut_before(self, chunk: ItemChunk, task: EncoderTask) -> set[str]:
        """The texts beyond the encoder's limit among those that are stored: a dead worker could not report them."""
        spec, cut = task.source.spec, set[str]()
        if not chunk.attempt or spec.modality == "image":
            return cut
        encoder = task.source.load(self.runtime)
        for key, sample in zip(chunk.keys, chunk.samples, strict=True):
            if key in task.todo:
                continue
            with suppress(BadItem):  # changed since it was stored
                item = decode(sample, task.reads, key=key)
                cleaned = clean_text(item, spec.clean) if spec.reads == "text" else item
                if encoder.is_cut(cleaned, encoder.preprocess(cleaned, key)):
                    cut.add(key)
        return cut


def _is_fit(name: str) -> bool:
    known = ENCODERS.get(name.partition("@")[0])
    return known is not None and known.origin == "fitted on the corpus"
