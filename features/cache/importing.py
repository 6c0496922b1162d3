"""`msa cache import`: joins embeddings made elsewhere to posts by id and stores them by content, like all others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.zoo import ALIASES, ENCODERS
from ..extraction.plan import Target, TaskResult, finish_target
from ..posts.content import Contents, hash_corpus
from ..posts.samples import Corpus
from ..progress import stage, step
from ..spec import EncoderSpec, Modality
from ..store.store import Store, stored_specs
from ..store.writer import Writer
from .imported_arrays import ImportedArrays
from .verify import cosines

ALIKE = 0.9999  # cosine of two vectors of the same content, embedded in different batches


@dataclass(frozen=True)
class Imported:
    """The result of an import: rows = stored + cached + duplicate + other; `missing` items have no row."""

    name: str
    modality: Modality
    fingerprint: str
    path: str
    rows: int
    stored: int
    cached: int  # stored before
    duplicate: int  # of the same content as an earlier row
    other: int  # of posts without readable content of this modality
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)

    def to_text(self) -> str:
        """Rows stored and left out, one reason a line."""
        notes = [
            f"{self.rows} rows of {self.name}: {self.stored} stored, {self.cached} stored before, "
            f"{self.duplicate} duplicates: {self.path}"
        ]
        if self.other:
            notes.append(f"{self.other} rows belong to posts without a readable {self.modality} and were left out")
        if self.missing:
            notes.append(
                f"{self.missing} items have no embedding and are listed in errors.jsonl; heads treat their "
                f"{self.modality} as missing; add them with --append"
            )
        return "\n".join(notes)


def import_embeddings(
    corpus: Corpus, cache: Path, arrays: ImportedArrays, *, name: str, modality: Modality, append: bool = False
) -> Imported:
    """Store embeddings by the content of the posts that their ids name; the spec's `weights` is a digest of the arrays.

    `append` adds rows to an earlier import of this name. Raises ValueError for unknown ids, for a name that is taken,
    and for posts of equal content whose vectors differ, since the cache identifies rows by content alone.
    """
    contents = hash_corpus(corpus, cache)
    keys = _keys(corpus, contents, arrays.ids, modality)
    first = _first_rows(arrays, keys)
    spec = _spec(cache, arrays, keys, first, name=name, modality=modality, append=append)
    known = _known(Store(cache / spec.slug, spec), first)
    todo = {key: row for key, row in first.items() if key not in known}
    store = Store.open(cache, spec)
    writer = Writer(store, tokens=arrays.tokens is not None)
    stage(f"importing {name}")
    for number, (key, row) in enumerate(todo.items()):
        step("rows", number, len(todo), "rows")
        one = range(row, row + 1)
        writer.add(key, arrays.vectors(one)[0], None if arrays.tokens is None else arrays.words(one))
    writer.flush()
    store.refresh()
    wanted = contents.first(modality)
    stored = store.find(list(wanted))
    missing = {key: "no embedding was imported" for key, there in zip(wanted, stored, strict=True) if not there}
    finish_target(corpus, contents, Target(store, arrays.tokens is not None, todo), TaskResult(missing))
    given = [key for key in keys if key is not None]
    return Imported(
        name=name,
        modality=modality,
        fingerprint=spec.fingerprint,
        path=str(store.folder),
        rows=len(keys),
        stored=len(todo),
        cached=len(known),
        duplicate=len(given) - len(first),
        other=len(keys) - len(given),
        missing=len(missing),
    )


def _keys(corpus: Corpus, contents: Contents, ids: Sequence[str], modality: Modality) -> list[str | None]:
    """Content key of each row's post, of several images the first readable; None where it has no such content."""
    by_id: dict[str, str | None] = {}
    keys = contents.keys(modality)
    for post, number in zip(corpus.samples, contents.readable(modality), strict=True):
        key = None if number is None else keys[number]
        if by_id.setdefault(post.id, key) != key:
            raise ValueError(f"id {post.id!r} belongs to several posts of {corpus.root}; ids must be unique")
    unknown = [name for name in ids if name not in by_id]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(ids)} ids belong to no post in {corpus.root}, such as {unknown[0]!r}; "
            f"its ids look like {next(iter(by_id), None)!r}"
        )
    return [by_id[name] for name in ids]


def _first_rows(arrays: ImportedArrays, keys: Sequence[str | None]) -> dict[str, int]:
    """The first row of each content; a later one may differ only as much as another batch makes it."""
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key is None or (earlier := first.setdefault(key, row)) == row:
            continue
        vector = arrays.vectors(range(earlier, earlier + 1))[0]
        _refuse_unlike(arrays, row, vector, f"that of post {arrays.ids[earlier]!r} of the same content")
    return first


def _known(store: Store, first: dict[str, int]) -> dict[str, int]:
    """The first row of each content that is stored."""
    return {key: row for (key, row), there in zip(first.items(), store.find(list(first)), strict=True) if there}


def _refuse_other(store: Store, arrays: ImportedArrays, first: dict[str, int]) -> None:
    """Raise ValueError where rows cannot join those of a store, by their source, format or vectors."""
    spec, width = store.spec, arrays.pooled.shape[1]
    if spec.source != "import":
        raise ValueError(f"{spec.slug} was not imported")
    if (spec.width, spec.dtype) != (width, arrays.dtype):
        raise ValueError(f"{spec.slug} has width {spec.width} and {spec.dtype}; got {width} and {arrays.dtype}")
    if any(part.has_tokens != (arrays.tokens is not None) for part in store.parts):
        raise ValueError(f"give tokens for all rows of {spec.slug}, or for none")
    rows = _known(store, first)
    keys = list(rows)
    for positions, block in store.read(keys, tokens=False):
        for position, pooled in zip(positions, block.pooled, strict=True):
            _refuse_unlike(arrays, rows[keys[int(position)]], pooled, "the one imported for it before")


def _refuse_unlike(arrays: ImportedArrays, row: int, other: NDArray[np.float32], whose: str) -> None:
    if cosines(arrays.vectors(range(row, row + 1)), other[None])[0] < ALIKE:
        raise ValueError(
            f"the vector of post {arrays.ids[row]!r} differs from {whose}; embeddings are stored by content, "
            "so equal content must have equal vectors"
        )


def _spec(
    cache: Path,
    arrays: ImportedArrays,
    keys: Sequence[str | None],
    first: dict[str, int],
    *,
    name: str,
    modality: Modality,
    append: bool,
) -> EncoderSpec:
    """The spec of these embeddings, identified by a digest of the arrays and of the content of each row."""
    if name in {*ENCODERS, *ALIASES, "none", ""}:
        raise ValueError(f"--name {name!r} is a name of msa's own; give the embeddings another one")
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
    if spec in there or not there:
        if append and not there:
            raise ValueError(
                f"--append: no imported {modality} embeddings named {name!r} in {str(cache)!r}; leave it out"
            )
        return spec
    try:
        for old in there:
            _refuse_other(Store(cache / old.slug, old), arrays, first)
    except ValueError as error:
        taken = "--append" if append else f"{modality} embeddings named {name!r} are in {str(cache)!r} already"
        raise ValueError(f"{taken}: {error}; give another --name") from error
    if not append:
        raise ValueError(
            f"{modality} embeddings named {name!r} are in {str(cache)!r} already; add rows to them with --append, or "
            "give another --name"
        )
    return there[0]
