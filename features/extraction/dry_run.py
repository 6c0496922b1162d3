"""`msa extract --dry-run`: estimates time and disk from a few timed batches; writes nothing to the cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.encoder import Source
from ..encoders.runtime import Runtime, available_cores
from ..encoders.sources import EncoderRequest, open_sources
from ..posts.content import Contents, hash_corpus
from ..posts.samples import Corpus, Sample
from ..spec import READS, BadItem, Modality, Reads
from ..store.durable import existing
from ..store.parts import data_bytes
from ..store.store import FLUSH_BYTES, MERGE_LIMIT, Store
from ..store.temporary_folders import TemporaryFolder
from ..store.writer import FLUSH_SECONDS
from ..text_table import Part, Report, Table, paragraph
from .embed import decode, embed_corpus
from .plan import Target, cut_note, find_missing, several_notes
from .settings import ExtractSettings
from .shard import Shard

WARM_UP = 4  # items before the clock runs
DECODED = 64  # images, to learn what decoding alone takes
FIRST = 16  # items of the first timed run; each further one takes twice as many,
ENOUGH_SECONDS = 3.0  # until one lasts that long or no item is left


@dataclass(frozen=True)
class EncoderEstimate:
    """One spec. rows = missing + unreadable + duplicate + cached + new; `tokens` per item, None: pooled vectors alone.

    Rows are posts, and of images also the further ones of posts with several. `seconds` are of embedding,
    `load_seconds` of loading the model; specs of one forward pass share both.
    """

    name: str
    modality: Modality
    fingerprint: str
    rows: int
    missing: int
    unreadable: int
    duplicate: int
    cached: int
    new: int
    sampled: int
    bad_in_sample: int
    cut_in_sample: int
    tokens: float | None
    bytes: int
    seconds: float
    load_seconds: float


@dataclass(frozen=True)
class Estimate(Report):
    """All specs, and their sums: bytes, seconds, and the peak of disk space while parts are merged.

    `notes` are those of the reader on posts with several images.
    """

    posts: int
    encoders: Sequence[EncoderEstimate]
    bytes: int
    seconds: float
    load_seconds: float
    peak_bytes: int
    free_bytes: int
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"fits": self.peak_bytes <= self.free_bytes}

    def parts(self) -> list[Part]:
        """A row for each encoder, with what it would take."""
        header = ["encoder", "missing", "dup.", "cached", "new", "tokens", "GB", "minutes"]
        lines = []
        for e in self.encoders:
            tokens = "pooled" if e.tokens is None else f"{e.tokens:.1f}" if e.new else "-"
            cost = f"{e.bytes / 1e9:.3f}", f"{e.seconds / 60:.2f}"
            lines.append([e.name, e.missing, e.duplicate, e.cached, e.new, tokens, *cost])
        bad = [e for e in self.encoders if e.bad_in_sample]
        notes = [*self.notes]
        notes += [f"{e.bad_in_sample} of {e.sampled} sampled items of {e.name} are bad" for e in bad]
        notes += [
            cut_note(e.name, e.cut_in_sample, f"of {e.sampled} sampled") for e in self.encoders if e.cut_in_sample
        ]
        disk = f"{self.peak_bytes / 1e9:.3f} GB of disk at most, while merging, of {self.free_bytes / 1e9:.1f} GB free"
        notes.append(f"together {self.seconds / 60:.2f} minutes and {self.load_seconds:.1f} s of loading; {disk}")
        if self.peak_bytes > self.free_bytes:
            notes.append("the disk is too small; free some space, or leave out tokens by --no-tokens")
        notes.append("nothing was written; run it without --dry-run to extract")
        return [Table(header, lines, f"{self.posts} posts"), *paragraph(notes)]


@dataclass(frozen=True)
class TimedRun:
    """A source timed on a few of the items that it lacks: seconds per item and of loading, how many were bad or cut."""

    sampled: int = 0
    bad: int = 0
    cut: int = 0
    each: float = 0.0
    load_seconds: float = 0.0
    tokens: Mapping[str, float] = field(default_factory=dict)  # fingerprint of a spec -> mean number per item


def estimate(
    corpus: Corpus,
    request: EncoderRequest,
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    shard: Shard | None = None,
) -> Estimate:
    """Time every encoder on a random few of the items that the cache lacks, in a temporary folder.

    Writes nothing into the cache. With a `shard` it counts only its rows; for a Ray cluster it times this process
    alone. Raises ValueError for what `msa extract` would refuse.
    """
    if not corpus.samples:
        raise ValueError(f"no posts to extract in {corpus.root}; `msa check` shows what was read")
    share = shard.take(corpus) if shard else corpus
    contents = hash_corpus(share, cache, update=False)
    runtime = settings.choose_runtime()
    encoders: list[EncoderEstimate] = []
    merging, seconds, loading = [0], 0.0, 0.0
    lacked: dict[Reads, list[set[str]]] = {reads: [] for reads in READS}
    with TemporaryFolder() as folder:
        for source in open_sources(request, corpus, Path(folder)):
            items = contents.first(source.spec.reads)
            stores = [Store(cache / spec.slug, spec) for spec in source.specs]
            targets = [find_missing(store, items, tokens=settings.tokens) for store in stores]
            todo = [key for key in items if any(key in target.todo for target in targets)]
            posts = replace(share, samples=[share.items(source.spec.reads)[items[key]] for key in todo])
            timed = _time_source(posts, source, Path(folder), settings, runtime)
            for target in targets:
                expected = _expect(target, contents, len(items), timed)
                merging.append(_merged_bytes(target, expected.bytes, expected.seconds))
                encoders.append(expected)
            seconds += timed.each * len(todo)
            loading += timed.load_seconds
            lacked[source.spec.reads].append(set(todo))
    seconds -= _shared_seconds(share, contents, lacked["image"], settings)
    total = sum(encoder.bytes for encoder in encoders)
    free = shutil.disk_usage(existing(cache)).free
    notes = several_notes(corpus)
    return Estimate(len(share.samples), encoders, total, seconds, loading, total + max(merging), free, notes)


def _expect(target: Target, contents: Contents, distinct: int, timed: TimedRun) -> EncoderEstimate:
    """What embedding the target's items takes; as large a share of them is bad as in the timed run."""
    spec, new = target.spec, len(target.todo)
    keys = contents.keys(spec.reads)
    present, missing = sum(key is not None for key in keys), sum(contents.missing(spec.reads))
    each = timed.tokens.get(spec.fingerprint, 0.0) if target.tokens else None
    good = round(new * (1 - timed.bad / max(1, timed.sampled)))
    return EncoderEstimate(
        name=spec.name,
        modality=spec.modality,
        fingerprint=spec.fingerprint,
        rows=len(keys),
        missing=missing,
        unreadable=len(keys) - present - missing,
        duplicate=present - distinct,
        cached=distinct - new,
        new=new,
        sampled=timed.sampled,
        bad_in_sample=timed.bad,
        cut_in_sample=timed.cut,
        tokens=each,
        bytes=data_bytes(spec, good, None if each is None else good * each),
        seconds=timed.each * new,
        load_seconds=timed.load_seconds,
    )


def _time_source(posts: Corpus, source: Source, folder: Path, settings: ExtractSettings, runtime: Runtime) -> TimedRun:
    """Extract posts in random order into a temporary cache: a few to warm up, then more and more until it lasts."""
    if not posts.samples:
        return TimedRun()
    started = time.perf_counter()
    encoder = source.load(runtime)
    loaded = Source(source.specs, lambda runtime: encoder)
    order = np.random.default_rng(0).permutation(len(posts.samples)).tolist()

    cut = 0

    def run(start: int, stop: int) -> float:
        nonlocal cut
        part = replace(posts, samples=[posts.samples[at] for at in order[start:stop]])
        report = embed_corpus(part, [loaded], folder, settings, merge=False)[0]
        cut += report.cut
        return report.seconds

    done = min(WARM_UP, len(order))
    run(0, done)
    load_seconds = time.perf_counter() - started
    each, size = 0.0, FIRST
    while done < len(order):
        stop = min(done + size, len(order))
        took = run(done, stop)
        if not each or stop - done == size:  # a remainder is less accurate than the longer run before it
            each = took / (stop - done)
        done, size = stop, 2 * size
        if took >= ENOUGH_SECONDS:
            break
    stores = [Store(folder / spec.slug, spec) for spec in source.specs]
    tokens = {store.spec.fingerprint: store.lengths(store.keys).sum() / max(1, len(store)) for store in stores}
    return TimedRun(done, done - min(map(len, stores)), cut, each, load_seconds, tokens)


def _merged_bytes(target: Target, new: int, seconds: float) -> int:
    """Bytes of the file that `new` bytes of parts and the store's own are merged into, beside them for a moment.

    Parts of FLUSH_BYTES, which a fast encoder writes, are not merged.
    """
    if not new:
        return 0
    parts = max(1, ceil(seconds / FLUSH_SECONDS))
    written = [new // parts] * parts if new < parts * FLUSH_BYTES else [new % FLUSH_BYTES]
    stored = (part.bytes for part in target.store.parts if part.has_tokens == target.tokens)
    totals = np.cumsum(sorted([*written, *(size for size in stored if size < FLUSH_BYTES)]))
    small = totals[totals <= MERGE_LIMIT]
    return int(small[-1]) if len(small) > 1 else 0


def _shared_seconds(corpus: Corpus, contents: Contents, lacked: Sequence[set[str]], settings: ExtractSettings) -> float:
    """Seconds saved because an image is decoded once for all encoders, while each was timed with decoding."""
    together = set().union(*lacked)
    again = sum(map(len, lacked)) - len(together)
    if not again:
        return 0.0
    posts = [corpus.items("image")[item] for key, item in contents.first("image").items() if key in together]
    drawn = np.random.default_rng(0).permutation(len(posts))[:DECODED].tolist()

    def decode_post(post: Sample) -> None:
        with suppress(BadItem):
            decode(post, "image")

    started = time.perf_counter()
    with ThreadPoolExecutor(settings.workers or available_cores()) as pool:
        list(pool.map(decode_post, [posts[at] for at in drawn]))
    return again * (time.perf_counter() - started) / len(drawn)
