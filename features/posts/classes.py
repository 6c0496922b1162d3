"""Brings the spellings of one label together, so that each class has one name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace

from .samples import Sample

_BETWEEN = re.compile(r"[,;|]")
_WHOLE = re.compile(r"([-+]?\d+)\.0+")


def merge_spellings(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """Replace labels that differ only in case, spaces, invisible characters or a final `.0` by the most frequent one.

    Returns notes, too.
    """
    counts = Counter(sample.label for sample in samples if sample.label is not None)
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        spellings.setdefault(_form(label), []).append(label)
    notes = _note_joined(counts, spellings)
    merged = {other: first for first, *others in spellings.values() for other in others}
    if not merged:
        return list(samples), notes
    listed = [f"{other!r} as {first!r}: {counts[other]}" for other, first in list(merged.items())[:5]]
    more = ", …" if len(merged) > 5 else ""
    total = sum(counts[other] for other in merged)
    note = f"labels that differ only in case, spaces or .0, read as one: {total} ({', '.join(listed)}{more})"
    return [replace(s, label=merged.get(s.label, s.label)) if s.label else s for s in samples], [note, *notes]


def _note_joined(counts: Counter[str], known: Container[str]) -> list[str]:
    """A note on labels whose parts are classes, too, as `joy, sad` of a post that has both."""
    joined = [
        label for label in counts if len(parts := _BETWEEN.split(label)) > 1 and all(_form(p) in known for p in parts)
    ]
    listed = ", ".join(f"{label!r}: {counts[label]}" for label in joined[:5]) + (", …" if len(joined) > 5 else "")
    total = sum(counts[label] for label in joined)
    cure = "each such list is a class; give each label a column, see --column label=NAME, or --drop-label lists"
    return [f"labels that list several others: {total} ({listed}); {cure}"] if joined else []


def _form(label: str) -> str:
    """What all spellings of a label have in common."""
    seen = "".join(c for c in label if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf"})
    text = " ".join(unicodedata.normalize("NFKC", seen).casefold().split())
    return text if (whole := _WHOLE.fullmatch(text)) is None else whole[1]
