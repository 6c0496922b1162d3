"""`msa cache import`: embeddings made elsewhere, joined to posts by id and stored by content like any others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.zoo import ALIASES, ENCODERS
from ..posts.content import Contents, hash_corpus
from ..posts.samples import Corpus
from ..spec import EncoderSpec, Modality
from ..store.errors import BadRecord, update_errors
from ..store.store import Store, Writer, stored_specs
from .imported_arrays import ImportedArrays
from .verify import cosines

ALIKE = 0.9999  # cosine of two vectors of the same content, embedded in different batches


@dataclass(frozen=True)
class Imported:
    """What was imported: rows = stored + cached + duplicate + other; `missing` posts have no row among them."""

    name: str
    modality: Modality
    fingerprint: str
    path: str
    rows: int
    stored: int
    cached: int  # in the store already
    duplicate: int  # of a content that an earlier row has
    other: int  # of posts that have no such content, or none that can be read
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return asdict(self)

    def to_text(self) -> str:
        """What became of every row, and what is lacking."""
        notes = [
            f"{self.rows} rows of {self.name}: {self.stored} stored, {self.cached} stored before, "
            f"{self.duplicate} duplicates: {self.path}"
        ]
        if self.other:
            notes.append(f"{self.other} rows are of posts without a readable {self.modality} and were left out")
        if self.missing:
            notes.append(
                f"{self.missing} items have no embedding: errors.jsonl names them, heads take their {self.modality} as "
                "missing, --append brings them"
            )
        return "\n".join(notes)


def import_embeddings(
    corpus: Corpus, cache: Path, arrays: ImportedArrays, *, name: str, modality: Modality, append: bool = False
) -> Imported:
    """Store embeddings by the content of the posts that their ids name; the spec is made of the arrays themselves.

    `append` adds rows to what was imported under this name before. Raises ValueError for unknown ids, for posts of
    one content whose vectors differ (those are of more than this content, and the cache knows rows by content
    alone), and for a name that is taken.
    """
    contents = hash_corpus(corpus)
    keys = _keys(corpus, contents, arrays.ids, modality)
    first = _first_rows(arrays, keys)
    spec = _spec(cache, arrays, keys, name=name, modality=modality, append=append)
    before = Store(cache / spec.slug, spec)
    known = dict(zip(first, before.find(list(first)), strict=True))
    _refuse_changed(before, arrays, {key: row for key, row in first.items() if known[key]})
    store = Store.open(cache, spec)
    writer = Writer(store, tokens=arrays.tokens is not None)
    for key, row in first.items():
        if not known[key]:
            one = range(row, row + 1)
            writer.add(key, arrays.vectors(one)[0], None if arrays.tokens is None else arrays.words(one))
    writer.flush()
    store.merge()
    missing = _note_missing(corpus, contents, store)
    given = [key for key in keys if key is not None]
    return Imported(
        name=name,
        modality=modality,
        fingerprint=spec.fingerprint,
        path=str(store.folder),
        rows=len(keys),
        stored=sum(not there for there in known.values()),
        cached=sum(map(bool, known.values())),
        duplicate=len(given) - len(first),
        other=len(keys) - len(given),
        missing=missing,
    )


def _keys(corpus: Corpus, contents: Contents, ids: Sequence[str], modality: Modality) -> list[str | None]:
    """Content key of each row's post; None where the post has no such content."""
    by_id: dict[str, str | None] = {}
    for post, key in zip(corpus.samples, contents.keys(modality), strict=True):
        if by_id.setdefault(post.id, key) != key:
            raise ValueError(f"id {post.id!r} stands for several posts of {corpus.root}; ids must tell posts apart")
    unknown = [name for name in ids if name not in by_id]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(ids)} ids are of no post in {corpus.root}, {unknown[0]!r} for one; its ids look "
            f"like {next(iter(by_id), None)!r}"
        )
    return [by_id[name] for name in ids]


def _first_rows(arrays: ImportedArrays, keys: Sequence[str | None]) -> dict[str, int]:
    """The first row of each content; a later one may differ by no more than another batch makes."""
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key is None or (earlier := first.setdefault(key, row)) == row:
            continue
        _refuse_unlike(
            arrays,
            row,
            arrays.vectors(range(earlier, earlier + 1))[0],
            f"post {arrays.ids[earlier]!r} of the same content",
        )
    return first


def _refuse_changed(store: Store, arrays: ImportedArrays, rows: dict[str, int]) -> None:
    keys = list(rows)
    for positions, block in store.read(keys, tokens=False):
        for position, pooled in zip(positions, block.pooled, strict=True):
            _refuse_unlike(arrays, rows[keys[int(position)]], pooled, "what was imported for it before")


def _refuse_unlike(arrays: ImportedArrays, row: int, other: NDArray[np.float32], whose: str) -> None:
    if cosines(arrays.vectors(range(row, row + 1)), other[None])[0] < ALIKE:
        raise ValueError(
            f"the vector of post {arrays.ids[row]!r} differs from that of {whose}; embeddings are kept by content, "
            "so equal content must have equal vectors"
        )


def _spec(
    cache: Path, arrays: ImportedArrays, keys: Sequence[str | None], *, name: str, modality: Modality, append: bool
) -> EncoderSpec:
    """What names these embeddings: the digest of the arrays and of the content that each row belongs to."""
    if name in {*ENCODERS, *ALIASES, "none", ""}:
        raise ValueError(f"--name {name!r} is taken by msa itself; give the embeddings a name of their own")
    width = arrays.pooled.shape[1]
    digest = hashlib.sha256(repr((arrays.pooled.shape, str(arrays.pooled.dtype), arrays.dtype)).encode())
    digest.update("\n".join(key or "" for key in keys).encode() + arrays.offsets.tobytes())
    for block in arrays.blocks():
        digest.update(np.ascontiguousarray(arrays.pooled[block.start : block.stop]).data)
        if arrays.tokens is not None:
            start, stop = arrays.offsets[[block.start, block.stop]]
            digest.update(np.ascontiguousarray(arrays.tokens[start:stop]).data)
    spec = EncoderSpec(
        name=name,
        modality=modality,
        source="import",
        architecture="unknown",
        weights=f"sha256:{digest.hexdigest()}",
        layer="unknown",
        pool="unknown",
        preprocess="{}",
        width=width,
        dtype=arrays.dtype,
    )
    there = [old for old in stored_specs(cache) if (old.name, old.modality) == (name, modality)]
    if not append:
        if there and there != [spec]:
            raise ValueError(
                f"{modality} embeddings named {name!r} are in {str(cache)!r} already; add rows to them by --append, or "
                "give another --name"
            )
        return spec
    if len(there) != 1 or there[0].source != "import":
        raise ValueError(f"--append: no imported {modality} embeddings named {name!r} in {str(cache)!r}")
    if (there[0].width, there[0].dtype) != (width, arrays.dtype):
        raise ValueError(
            f"--append: {there[0].slug} is {there[0].width} wide, {there[0].dtype}; got {width}, {arrays.dtype}"
        )
    if any(part.has_tokens != (arrays.tokens is not None) for part in Store(cache / there[0].slug, there[0]).parts):
        raise ValueError(f"--append: bring tokens for all rows of {there[0].slug}, or for none")
    return there[0]


def _note_missing(corpus: Corpus, contents: Contents, store: Store) -> int:
    """Write the posts that have the content but no embedding into errors.jsonl; return how many items they are."""
    modality = store.spec.modality
    keys = contents.keys(modality)
    there = dict(zip(keys, store.find([key or "" for key in keys]), strict=True))
    records, posts = [], set()
    for post, key in zip(corpus.samples, keys, strict=True):
        origin = post.image if modality == "image" else post.text
        file = origin.name if isinstance(origin, Path) else post.id
        posts.add((post.id, file))
        if key is not None and not there[key]:
            records.append(BadRecord(post.id, key, file, "no embedding was imported"))
    missing = {record.key for record in records}
    update_errors(store.folder, {key for key in keys if key is not None} - missing, records, posts)
    return len(missing)
