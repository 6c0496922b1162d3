"""`msa extract --dry-run`: what an extraction would take, from a few timed batches. The cache is only looked at."""

from __future__ import annotations

import shutil
import tempfile
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
from ..encoders.runtime import Runtime, available_cores, choose_runtime
from ..encoders.sources import EncoderRequest, open_sources
from ..posts.content import Contents, hash_corpus
from ..posts.samples import Corpus, Sample
from ..spec import BadItem, EncoderSpec, Modality
from ..store.parts import data_bytes
from ..store.store import FLUSH_BYTES, FLUSH_SECONDS, MERGE_LIMIT, Store
from ..text_table import table
from .embed import decode, extract
from .settings import ExtractSettings
from .shard import Shard

WARM = 4  # items before the clock runs
DECODED = 64  # images, to learn what decoding alone takes
FIRST = 16  # items of the first timed run; each further one takes twice as many,
ENOUGH_SECONDS = 3.0  # until one lasts that long or no item is left


@dataclass(frozen=True)
class EncoderForecast:
    """One spec. rows = missing + unreadable + duplicate + cached + new; `tokens` per item, None: pooled vectors alone.

    `seconds` are of embedding, `load_seconds` of loading the model; specs of one forward pass share both.
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
    tokens: float | None
    bytes: int
    seconds: float
    load_seconds: float


@dataclass(frozen=True)
class Forecast:
    """All specs, and together: bytes, seconds, and the most disk that it takes while parts are merged."""

    encoders: Sequence[EncoderForecast]
    bytes: int
    seconds: float
    load_seconds: float
    peak_bytes: int
    free_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        together = {name: value for name, value in vars(self).items() if name != "encoders"}
        fits = self.peak_bytes <= self.free_bytes
        return {"encoders": [asdict(encoder) for encoder in self.encoders], **together, "fits": fits}

    def to_text(self) -> str:
        """One line per spec, then the sums."""
        header = ["encoder", "rows", "missing", "duplicates", "cached", "new", "tokens each", "GB", "minutes", "load s"]
        lines = []
        for e in self.encoders:
            tokens = "pooled" if e.tokens is None else f"{e.tokens:.1f}" if e.new else "-"
            counts = [str(n) for n in (e.rows, e.missing, e.duplicate, e.cached, e.new)]
            took = [f"{e.bytes / 1e9:.3f}", f"{e.seconds / 60:.2f}", f"{e.load_seconds:.1f}"]
            lines.append([e.name, *counts, tokens, *took])
        notes = [
            f"{e.bad_in_sample} of {e.sampled} sampled items of {e.name} are bad"
            for e in self.encoders
            if e.bad_in_sample
        ]
        disk = f"{self.peak_bytes / 1e9:.3f} GB of disk at most, while merging, of {self.free_bytes / 1e9:.1f} GB free"
        notes.append(f"together {self.seconds / 60:.2f} minutes and {self.load_seconds:.1f} s of loading; {disk}")
        if self.peak_bytes > self.free_bytes:
            notes.append("the disk is too small; free some space, or leave out tokens by --no-tokens")
        return "\n".join([table(header, lines), *notes, "nothing was written; without --dry-run it is done"])


@dataclass(frozen=True)
class Trial:
    """A source on a few of the items that it lacks: seconds per item and of loading, how many were bad.

    `tokens` are those that an item has on average, by the spec's fingerprint.
    """

    sampled: int = 0
    bad: int = 0
    each: float = 0.0
    load_seconds: float = 0.0
    tokens: Mapping[str, float] = field(default_factory=dict)


def forecast(
    corpus: Corpus,
    request: EncoderRequest,
    cache: Path,
    settings: ExtractSettings = ExtractSettings(),
    *,
    shard: Shard | None = None,
) -> Forecast:
    """Time every encoder on a few of the items that the cache lacks, drawn at random, in a temporary folder.

    Writes nothing into the cache. Of a `shard` it counts its rows; of a Ray cluster it knows nothing and times this
    process. Raises ValueError for what `extract_corpus` would refuse.
    """
    if not corpus.samples:
        raise ValueError(f"no posts to extract in {corpus.root}; `msa check` shows what was read")
    share = shard.take(corpus) if shard else corpus
    contents = hash_corpus(share)
    runtime = choose_runtime(settings.device, settings.runtime, streams=settings.streams, compile=settings.compile)
    encoders: list[EncoderForecast] = []
    merging, seconds, loading = [0], 0.0, 0.0
    lacked: dict[Modality, list[set[str]]] = {"image": [], "text": []}
    with tempfile.TemporaryDirectory() as folder:
        for source in open_sources(request, corpus, Path(folder)):
            keys = contents.keys(source.spec.modality)
            posts = dict(zip(reversed(keys), reversed(share.samples), strict=True))
            distinct = list(dict.fromkeys(key for key in keys if key is not None))
            stores = [Store(cache / spec.slug, spec) for spec in source.specs]
            lacking = [~store.find(distinct, tokens=settings.tokens or store.spec.raw) for store in stores]
            todo = [distinct[int(at)] for at in np.flatnonzero(np.logical_or.reduce(lacking))]
            trial = _try(replace(share, samples=[posts[key] for key in todo]), source, Path(folder), settings, runtime)
            for store, lacks in zip(stores, lacking, strict=True):
                tokens = settings.tokens or store.spec.raw
                seen = _expect(store.spec, contents, len(distinct), int(lacks.sum()), trial, tokens=tokens)
                merging.append(_merged_bytes(store, seen.bytes, seen.seconds, tokens))
                encoders.append(seen)
            seconds += trial.each * len(todo)
            loading += trial.load_seconds
            lacked[source.spec.modality].append(set(todo))
    seconds -= _shared_seconds(share, contents, lacked["image"], settings)
    total = sum(encoder.bytes for encoder in encoders)
    return Forecast(encoders, total, seconds, loading, total + max(merging), _free_bytes(cache))


def _expect(
    spec: EncoderSpec, contents: Contents, distinct: int, new: int, trial: Trial, *, tokens: bool
) -> EncoderForecast:
    """What embedding `new` items takes, by the trial; the share of bad ones among them is expected to be its own."""
    keys = contents.keys(spec.modality)
    there, missing = sum(key is not None for key in keys), sum(contents.missing(spec.modality))
    each = trial.tokens.get(spec.fingerprint, 0.0) if tokens else None
    good = round(new * (1 - trial.bad / max(1, trial.sampled)))
    return EncoderForecast(
        name=spec.name,
        modality=spec.modality,
        fingerprint=spec.fingerprint,
        rows=len(keys),
        missing=missing,
        unreadable=len(keys) - there - missing,
        duplicate=there - distinct,
        cached=distinct - new,
        new=new,
        sampled=trial.sampled,
        bad_in_sample=trial.bad,
        tokens=each,
        bytes=data_bytes(spec, good, None if each is None else good * each),
        seconds=trial.each * new,
        load_seconds=trial.load_seconds,
    )


def _try(lacking: Corpus, source: Source, folder: Path, settings: ExtractSettings, runtime: Runtime) -> Trial:
    """Extract random posts into a temporary cache: a few until the model is warm, then more and more until it lasts."""
    if not lacking.samples:
        return Trial()
    started = time.perf_counter()
    encoder = source.load(runtime)
    loaded = Source(source.specs, lambda runtime: encoder)
    order = np.random.default_rng(0).permutation(len(lacking.samples)).tolist()

    def run(start: int, stop: int) -> float:
        part = replace(lacking, samples=[lacking.samples[at] for at in order[start:stop]])
        return extract(part, [loaded], folder, settings, merge=False)[0].seconds

    done = min(WARM, len(order))
    run(0, done)
    load_seconds = time.perf_counter() - started
    each, size = 0.0, FIRST
    while done < len(order):
        stop = min(done + size, len(order))
        took = run(done, stop)
        if not each or stop - done == size:  # a remainder says less than the longer run before it
            each = took / (stop - done)
        done, size = stop, 2 * size
        if took >= ENOUGH_SECONDS:
            break
    stores = [Store(folder / spec.slug, spec) for spec in source.specs]
    tokens = {store.spec.fingerprint: store.lengths(store.keys).sum() / max(1, len(store)) for store in stores}
    return Trial(done, done - min(map(len, stores)), each, load_seconds, tokens)


def _merged_bytes(store: Store, new: int, seconds: float, tokens: bool) -> int:
    """Size of the file that new parts and the store's own are merged into, beside them for a moment."""
    if not new:
        return 0
    parts = max(ceil(new / FLUSH_BYTES), ceil(seconds / FLUSH_SECONDS))
    total = number = 0
    for size in sorted([*(part.bytes for part in store.parts if part.has_tokens == tokens), *[new // parts] * parts]):
        if total + size <= MERGE_LIMIT:
            total += size
            number += 1
    return total if number > 1 else 0


def _shared_seconds(corpus: Corpus, contents: Contents, lacked: Sequence[set[str]], settings: ExtractSettings) -> float:
    """What is saved because an image is decoded once for all encoders, while each was timed with decoding."""
    together = set().union(*lacked)
    again = sum(map(len, lacked)) - len(together)
    if not again:
        return 0.0
    posts = {key: post for key, post in zip(contents.image_keys, corpus.samples, strict=True) if key in together}
    drawn = np.random.default_rng(0).permutation(len(posts))[:DECODED].tolist()
    chosen = [list(posts.values())[at] for at in drawn]

    def look(post: Sample) -> None:
        with suppress(BadItem):
            decode(post, "image")

    started = time.perf_counter()
    with ThreadPoolExecutor(settings.workers or available_cores()) as pool:
        list(pool.map(look, chosen))
    return again * (time.perf_counter() - started) / len(chosen)


def _free_bytes(cache: Path) -> int:
    folder = cache.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
