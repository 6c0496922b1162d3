"""`msa cache ls`, `merge` and `gc`: lists the stores, merges their parts, drops rows that no data set uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..encoders.word_vectors import FITTED_FILE
from ..posts.content import Contents, hash_corpus
from ..posts.samples import Corpus
from ..progress import keeping, stage, step
from ..spec import READS, Reads
from ..store.durable import remove_stale_temporaries
from ..store.errors import read_errors, update_errors
from ..store.joined import JOINED, folder_bytes, joined_folders, remove_folder
from ..store.parts import data_bytes
from ..store.store import Store, no_embeddings, stored_specs
from ..text_table import TableReport

REBUILT = ("spec.json", "origin.json", "errors.jsonl", "tuned.json")  # `msa extract` writes these again


def list_cache(cache: Path) -> TableReport:
    """List every store of a cache, which may be empty or absent.

    `tokens` is the number of token vectors, None for pooled vectors alone; `bad` counts the items of errors.jsonl.
    `faults` says which parts and folders are left out because they are damaged.
    """
    header = ["folder", "rows", "tokens", "width", "format", "parts", "MB", "bad"]
    entries, lines = [], []
    faults: list[str] = []
    for spec in stored_specs(cache, faults):
        store = Store(cache / spec.slug, spec, faults=faults)
        tokens = int(store.lengths(store.keys).sum()) if any(part.has_tokens for part in store.parts) else None
        rows, parts, bad = len(store), len(store.parts), _count_errors(store.folder, faults)
        known = {key: getattr(spec, key) for key in ("name", "modality", "slug", "layer", "pool", "width", "dtype")}
        entries.append(known | {"rows": rows, "tokens": tokens, "parts": parts, "bytes": store.bytes, "bad": bad})
        shown = [spec.slug, rows, "-" if tokens is None else tokens, spec.width, spec.dtype]
        lines.append([*shown, parts, f"{store.bytes / 1e6:.1f}", bad])
    notes = [f"not listed: {fault}" for fault in faults] or ([] if entries else [no_embeddings(cache)])
    if joined := joined_folders(cache):
        size = sum(map(folder_bytes, joined)) / 1e6
        notes.append(f"{cache / JOINED}: {size:.1f} MB joined to posts beyond --memory; `msa cache gc` frees them")
    return TableReport(entries, header, lines, notes, facts={"faults": faults} if faults else {})


def _count_errors(folder: Path, faults: list[str]) -> int | None:
    try:
        return len(read_errors(folder))
    except ValueError as error:
        faults.append(str(error))
        return None


def merge_cache(cache: Path) -> TableReport:
    """Rewrite the small parts of every store as one. Raises ValueError for an empty cache or a damaged part."""
    entries: list[dict[str, Any]] = []
    lines = []
    stage("merging parts")
    stores = open_stores(cache)
    keeping(lambda: f"{len(entries)} of {len(stores)} folders are merged, the others are as they were")
    for store in stores:
        step("folders", len(entries), len(stores), "folders")
        parts, size = len(store.parts), store.bytes
        store.merge()
        after, left = len(store.parts), store.bytes
        sizes = {"parts_before": parts, "parts_after": after, "bytes_before": size, "bytes_after": left}
        entries.append({"slug": store.spec.slug, **sizes})
        lines.append([store.spec.slug, f"{parts} → {after}", f"{size / 1e6:.1f} → {left / 1e6:.1f}"])
    return TableReport(entries, ["folder", "parts", "MB"], lines)


def open_stores(cache: Path) -> list[Store]:
    """The stores of a cache, by folder name. Writes nothing. Raises ValueError where there is none."""
    stores = [Store(cache / spec.slug, spec) for spec in stored_specs(cache)]
    if not stores:
        raise ValueError(no_embeddings(cache))
    return stores


def collect_garbage(cache: Path, corpora: Sequence[Corpus], *, yes: bool, force: bool = False) -> TableReport:
    """Drop every row whose content no post of the corpora has; without `yes` only report what would be dropped.

    Copies that are joined to posts go, too. `removed`: the whole folder is deleted. `bytes` is approximate before it is
    done. Raises ValueError for an empty cache or a corpus without posts and, unless `force`, for posts whose content
    cannot be seen: it may lie on a disk that is not mounted, and its rows would be lost.
    """
    stores = open_stores(cache)
    held = {store.spec.reads for store in stores if len(store)}
    used: dict[Reads, set[str]] = {reads: set() for reads in READS}
    notes = []
    for corpus in corpora:
        if not corpus.samples:
            raise ValueError(f"no posts in {corpus.root}, so all rows would be dropped; see `msa check`")
        contents = hash_corpus(corpus, cache, update=yes)
        unseen = _unseen(corpus, contents, held)
        if unseen and not force:
            raise ValueError(f"{unseen}, so the rows of these would be dropped; see to it, or add --force to drop them")
        notes += [unseen] if unseen else []
        for reads, keys in used.items():
            keys.update(key for key in contents.keys(reads) if key is not None)
            keys.update(bad.key for bad in contents.bad if bad.modality == reads and bad.key is not None)
        if corpus.problems:
            notes.append(
                f"{len(corpus.problems)} problems in {corpus.root}: their posts count as absent; see `msa check`"
            )
    for folder in joined_folders(cache):
        notes.append(f"{folder}: {folder_bytes(folder) / 1e6:.1f} MB joined to posts, made again when needed")
        if yes:
            remove_folder(folder)
    stage("removing embeddings" if yes else "looking for unused embeddings")
    entries = [_drop_unused(store, used[store.spec.reads], yes) for store in stores]
    lines = [
        [e["slug"], e["kept"], e["dropped"], f"{e['bytes'] / 1e6:.1f}", "removed" if e["removed"] else "kept"]
        for e in entries
    ]
    header = ["folder", "rows kept", "rows dropped", "MB freed", "folder"]
    shown = notes if yes else [*notes, "nothing was changed; add --yes to do it"]
    return TableReport(entries, header, lines, shown, facts={"done": yes, "notes": notes})


def _unseen(corpus: Corpus, contents: Contents, held: Collection[Reads]) -> str:
    """What a corpus lists but does not show, of the modalities that the cache holds; empty where it shows all.

    An empty text is no reason, unless the reader met problems: a post without any file may truly be empty.
    """
    unreadable = [bad for bad in contents.bad if bad.key is None]
    if unreadable:
        return f"{len(unreadable)} files cannot be read, the first is {unreadable[0].file} ({unreadable[0].reason})"
    missing = {reads: contents.missing(reads) for reads in READS}
    bare = sum(both for both in map(min, missing["image"], missing["text"]))
    if bare and (corpus.problems or bare == len(corpus.samples)):
        return f"{bare} posts of {corpus.root} have neither image nor text that is found (see `msa check`)"
    for reads in sorted(held):
        if corpus.problems and all(missing[reads]):
            what = "image and text" if reads == "post" else reads
            return f"the {what} of no post of {corpus.root} is found (see `msa check`)"
    return ""


def _drop_unused(store: Store, used: set[str], yes: bool) -> dict[str, Any]:
    unused = [key for key in store.keys if key not in used]
    kept = len(store) - len(unused)
    lengths = store.lengths(unused)
    with_tokens = store.find(unused, tokens=True)
    freed = data_bytes(store.spec, int(with_tokens.sum()), int(lengths.sum()))
    freed += data_bytes(store.spec, int((~with_tokens).sum()), None)
    records = {record.key for record in read_errors(store.folder)}
    # fitted vectors exist nowhere else, and runs that were trained on them need them to predict
    removed = not kept and not records & {None, *used} and not (store.folder / FITTED_FILE).exists()
    removed = removed and not remove_stale_temporaries(store.folder)
    if yes:
        before = store.bytes
        store.merge(used)
        update_errors(store.folder, {key for key in records if key is not None and key not in used}, [])
        removed = removed and store.remove_empty(REBUILT)
        freed = before - store.bytes
    return {"slug": store.spec.slug, "kept": kept, "dropped": len(unused), "bytes": freed, "removed": removed}
