"""Refuses posts whose features were never extracted."""

from __future__ import annotations

from collections.abc import Collection

from ...features.encoders.sources import import_line
from ...features.posts.content import Contents
from ...features.spec import Reads
from ...features.store.errors import read_errors
from ...features.store.store import Store


def refuse_lacking(store: Store, contents: Contents, absent: Collection[str], *, tokens: bool, remedy: str) -> None:
    """Raise ValueError where `absent` keys are not among those that could not be embedded.

    `remedy` is the command that extracts them.
    """
    lacking = {*absent} - {record.key for record in read_errors(store.folder)}
    if not lacking:
        return
    imported = store.spec.source == "import"
    remedy = f"run `{import_line(store) if imported else remedy}` first"
    if tokens and not store.spec.raw and store.find([*lacking]).all():
        other = "add --inputs pooled, or choose a head on pooled vectors (`msa heads`)"
        remedy = other if imported else f"{remedy}, or {other}"
    what = "features with tokens" if tokens else "features"
    items = len(contents.first(store.spec.reads))
    raise ValueError(
        f"{len(lacking)} of {items} items have no {what} of {store.spec.name} in {store.folder.parent}; "
        f"{remedy}{_limit(contents, store.spec.reads, lacking)}"
    )


def _limit(contents: Contents, reads: Reads, lacking: set[str]) -> str:
    """How to work on the first posts alone, where these and no others have features."""
    items = [(row, key) for row, key in zip(contents.rows(reads), contents.keys(reads), strict=True) if key is not None]
    first = min(row for row, key in items if key in lacking)
    before, later = ({key for row, key in items if (row < first) == wanted} for wanted in (True, False))
    alone = first and not later - lacking - before
    return f", or add --limit {first}: the first {first} posts have them" if alone else ""
