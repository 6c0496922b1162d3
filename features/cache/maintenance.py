"""`msa cache ls`, `merge` and `gc`: what the stores hold, as one file each, without what no data set uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..encoders.word_vectors import FITTED_FILE
from ..posts.content import hash_corpus
from ..posts.samples import Corpus
from ..spec import EncoderSpec, Modality
from ..store.errors import read_errors, update_errors
from ..store.parts import data_bytes
from ..store.store import Store, stored_specs
from ..text_table import table

REBUILT = ("spec.json", "origin.json", "errors.jsonl", "tuned.json")  # what `msa extract` writes anew into a folder


@dataclass(frozen=True)
class StoreEntry:
    """One line of `msa cache ls`: `tokens` is how many token vectors there are, None where only pooled ones are."""

    name: str
    modality: Modality
    slug: str
    layer: str
    pool: str
    width: int
    dtype: str
    rows: int
    tokens: int | None
    parts: int
    bytes: int
    bad: int


@dataclass(frozen=True)
class CacheList:
    """The stores of a cache, by folder name."""

    cache: Path
    entries: Sequence[StoreEntry]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"encoders": [asdict(entry) for entry in self.entries]}

    def to_text(self) -> str:
        """One line per store."""
        if not self.entries:
            return f"no embeddings in {self.cache}; run `msa extract`, or give another folder with --cache"
        header = ["folder", "modality", "rows", "tokens", "width", "format", "layer", "pool", "parts", "MB", "bad"]
        lines = []
        for e in self.entries:
            tokens = "pooled" if e.tokens is None else str(e.tokens)
            what = [e.slug, e.modality, str(e.rows), tokens, str(e.width), e.dtype, e.layer, e.pool]
            lines.append([*what, str(e.parts), f"{e.bytes / 1e6:.1f}", str(e.bad)])
        return table(header, lines)


@dataclass(frozen=True)
class MergedStore:
    """What `msa cache merge` did to one store."""

    slug: str
    parts_before: int
    parts_after: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class MergeReport:
    """The stores of a cache, before and after."""

    stores: Sequence[MergedStore]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"encoders": [asdict(store) for store in self.stores]}

    def to_text(self) -> str:
        """One line per store."""
        lines = [
            [m.slug, f"{m.parts_before} → {m.parts_after}", f"{m.bytes_before / 1e6:.1f} → {m.bytes_after / 1e6:.1f}"]
            for m in self.stores
        ]
        return table(["folder", "parts", "MB"], lines)


@dataclass(frozen=True)
class StoreGarbage:
    """What a collection drops of one store, or would drop; `removed`: the whole folder goes. `bytes` is approximate."""

    slug: str
    kept: int
    dropped: int
    bytes: int
    removed: bool


@dataclass(frozen=True)
class GarbageReport:
    """What `msa cache gc` did, or (`done` False) would do."""

    stores: Sequence[StoreGarbage]
    done: bool
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"done": self.done, "encoders": [asdict(store) for store in self.stores], "notes": list(self.notes)}

    def to_text(self) -> str:
        """One line per store, then what remains to be said."""
        lines = [
            [s.slug, str(s.kept), str(s.dropped), f"{s.bytes / 1e6:.1f}", "goes" if s.removed else "stays"]
            for s in self.stores
        ]
        text = table(["folder", "rows kept", "rows dropped", "MB freed", "folder"], lines)
        end = () if self.done else ("nothing was changed; add --yes to do it",)
        return "\n".join([text, *self.notes, *end])


def open_stores(cache: Path) -> list[Store]:
    """The stores of a cache, by folder name; ValueError where there is none. Writes nothing."""
    stores = [Store(cache / spec.slug, spec) for spec in stored_specs(cache)]
    if not stores:
        raise ValueError(f"no embeddings in {str(cache)!r}; run `msa extract`, or give another folder with --cache")
    return stores


def list_cache(cache: Path) -> CacheList:
    """Look at every store of a cache, which may be empty or absent. Raises StoreError for a torn one."""
    return CacheList(cache, [_entry(Store(cache / spec.slug, spec)) for spec in stored_specs(cache)])


def _entry(store: Store) -> StoreEntry:
    spec: EncoderSpec = store.spec
    tokens = int(store.lengths(store.keys).sum()) if any(part.has_tokens for part in store.parts) else None
    return StoreEntry(
        name=spec.name,
        modality=spec.modality,
        slug=spec.slug,
        layer=spec.layer,
        pool=spec.pool,
        width=spec.width,
        dtype=spec.dtype,
        rows=len(store),
        tokens=tokens,
        parts=len(store.parts),
        bytes=store.bytes,
        bad=len(read_errors(store.folder)),
    )


def merge_cache(cache: Path) -> MergeReport:
    """Rewrite the small parts of every store as one. Raises ValueError for an empty cache or a damaged part."""
    merged = []
    for store in open_stores(cache):
        before = len(store.parts), store.bytes
        store.merge()
        merged.append(MergedStore(store.spec.slug, before[0], len(store.parts), before[1], store.bytes))
    return MergeReport(merged)


def collect_garbage(cache: Path, corpora: Sequence[Corpus], *, yes: bool) -> GarbageReport:
    """Drop every row whose content no post of the corpora has; without `yes` only say what would go.

    Raises ValueError for an empty cache, a corpus without posts, or posts that cannot be read: their rows would go.
    """
    stores = open_stores(cache)
    used: dict[Modality, set[str]] = {"image": set(), "text": set()}
    notes = []
    for corpus in corpora:
        if not corpus.samples:
            raise ValueError(f"no posts in {corpus.root}, so every row would go; `msa check` shows what was read")
        contents = hash_corpus(corpus)
        unreadable = [bad for bad in contents.bad if bad.key is None]
        if unreadable:
            raise ValueError(
                f"{len(unreadable)} files cannot be read, so their rows would go; first: {unreadable[0].file} "
                f"({unreadable[0].reason})"
            )
        for modality, keys in used.items():
            keys.update(key for key in contents.keys(modality) if key is not None)
            keys.update(bad.key for bad in contents.bad if bad.modality == modality and bad.key is not None)
        if corpus.problems:
            notes.append(
                f"{len(corpus.problems)} problems in {corpus.root}: their posts count as gone; see `msa check`"
            )
    return GarbageReport([_collect_store(store, used[store.spec.modality], yes) for store in stores], yes, notes)


def _collect_store(store: Store, used: set[str], yes: bool) -> StoreGarbage:
    unused = [key for key in store.keys if key not in used]
    kept = len(store) - len(unused)
    lengths = store.lengths(unused)
    with_tokens = store.find(unused, tokens=True)
    freed = data_bytes(store.spec, int(with_tokens.sum()), int(lengths.sum()))
    freed += data_bytes(store.spec, int((~with_tokens).sum()), None)
    records = {record.key for record in read_errors(store.folder)}
    # what was fitted on a corpus lies nowhere else, and runs that were trained on it need it to predict
    goes = not kept and not records & {None, *used} and not (store.folder / FITTED_FILE).exists()
    if yes:
        before = store.bytes
        store.merge(used)
        update_errors(store.folder, {key for key in records if key is not None and key not in used}, [])
        goes = goes and store.remove_empty(REBUILT)
        freed = before - store.bytes
    return StoreGarbage(store.spec.slug, kept, len(unused), freed, goes)
