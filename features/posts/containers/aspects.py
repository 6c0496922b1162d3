"""Text files of four lines a post, as of Twitter-2015 and Twitter-2017: sentence, aspect, label, image."""

from __future__ import annotations

import re
from collections.abc import Sequence

COLUMNS = ("text", "aspect", "label", "image")
ASPECT = "$T$"  # stands in the sentence for the aspect

_IMAGE = re.compile(r"\S.*\.[A-Za-z]{3,4}\s*")

NumberedRow = tuple[int, dict[int, str]]


def is_post(lines: Sequence[str | None]) -> bool:
    """Whether these are the four lines of a post: first a sentence with `$T$`, last the name of an image."""
    if len(lines) != len(COLUMNS) or not all(lines):
        return False
    return ASPECT in (lines[0] or "") and _IMAGE.fullmatch(lines[-1] or "") is not None


def read_aspects(lines: Sequence[str | None], *, undecodable: str) -> tuple[list[NumberedRow], list[tuple[int, str]]]:
    """The posts, with their first line (1-based) and the number of each column; line and reason of what is none.

    After lines that are no post it goes on with the next sentence, so that a lost line costs one post. `undecodable` is
    the reason for a line in no known encoding, which is None.
    """
    rows: list[NumberedRow] = []
    problems: list[tuple[int, str]] = []
    first = 0
    while first < len(lines):
        line, post = lines[first], lines[first : first + len(COLUMNS)]
        if is_post(post):
            rows.append((first + 1, {number: one.strip() for number, one in enumerate(post) if one}))
            first += len(COLUMNS)
            continue
        if line is None:
            problems.append((first + 1, undecodable))
        elif line.strip():
            problems.append((first + 1, f"not the first of four lines: a sentence with {ASPECT}, aspect, label, image"))
        first += 1
    return rows, problems
