"""Values as they are written on the command line and in files: numbers, true and false, grids of image tokens."""

from __future__ import annotations

from typing import Literal

Grid = tuple[int, int]  # rows and columns of image tokens
GroupBy = Literal["both", "image", "text", "none"]  # the content by which posts are duplicates of each other
BLOCK_POSTS = 16_384  # predicted and written together by `msa predict --out FILE`: what a kill costs at most,
TOKEN_BLOCK_POSTS = 2048  # and where heads read tokens, of which a post may have 150 kB


def read_value(text: str) -> int | float | bool | str:
    """A whole number, a number, true or false, or the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_grid(text: str) -> Grid | None:
    """`4x4` as (4, 4); None for `none`. Raises ValueError for any other text."""
    if text == "none":
        return None
    rows, by, columns = text.partition("x")
    if not (by and rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise ValueError(f"--patches wants ROWSxCOLUMNS, as 4x4, or none; got {text!r}")
    return int(rows), int(columns)


def write_grid(grid: Grid | None) -> str:
    """The text that `read_grid` reads."""
    return "x".join(map(str, grid)) if grid else "none"
