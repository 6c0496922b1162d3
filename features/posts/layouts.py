"""Layouts: how posts lie on disk, told by what is there or by name, and read into one Corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from . import labels, tables
from .folder import PostCollector
from .labels import LabelRule
from .samples import Corpus


@dataclass(frozen=True)
class ReadOptions:
    """How to read: `label_rule` for MVSA; `columns` maps id, image, text, label, split, group to a table's names."""

    label_rule: LabelRule = "paper"
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.label_rule not in get_args(LabelRule):
            raise ValueError(f"unknown label rule {self.label_rule!r}; choose one of {', '.join(get_args(LabelRule))}")
        for name in self.columns:
            if name not in tables.CANONICAL:
                raise ValueError(f"unknown column {name!r}; choose among {', '.join(tables.CANONICAL)}")


@dataclass(frozen=True)
class Layout:
    """What a layout looks for, whether a path has it, and how it is read."""

    wanted: str
    detect: Callable[[Path], bool]
    read: Callable[[Path, PostCollector, ReadOptions], None]


# In the order of detection: the layouts told by a file of a fixed name come first.
LAYOUTS: dict[str, Layout] = {
    "course": Layout(
        "data/ beside train.txt or test_without_label.txt",
        lambda path: (path / "data").is_dir() and any((path / f).is_file() for f in labels.COURSE_FILES),
        lambda path, posts, options: labels.read_course(path, posts),
    ),
    "mvsa": Layout(
        "data/ beside labelResultAll.txt",
        lambda path: (path / "data").is_dir() and (path / labels.MVSA_FILE).is_file(),
        lambda path, posts, options: labels.read_mvsa(path, posts, rule=options.label_rule),
    ),
    "id-label": Layout(
        "data/ beside ID-label.txt",
        lambda path: (path / "data").is_dir() and (path / labels.ID_LABEL_FILE).is_file(),
        lambda path, posts, options: labels.read_id_label(path, posts),
    ),
    "imagefolder": Layout(
        "metadata.csv or metadata.jsonl in the folder or its sub-folders",
        lambda path: bool(tables.find_metadata(path)),
        lambda path, posts, options: tables.read_imagefolder(path, posts, columns=options.columns),
    ),
    "hateful-memes": Layout(
        "train.jsonl, dev.jsonl or test.jsonl with `img`",
        lambda path: bool(tables.find_memes(path)),
        lambda path, posts, options: tables.read_memes(path, posts, columns=options.columns),
    ),
    "table": Layout(
        "a .csv, .tsv or .jsonl file",
        lambda path: bool(tables.find_tables(path)),
        lambda path, posts, options: tables.read_table(path, posts, columns=options.columns),
    ),
}


def read_corpus(data: Path, *, layout: str = "auto", options: ReadOptions = ReadOptions()) -> Corpus:
    """Read all posts of a folder, or of one table file, in the order of its files.

    What is wrong with single lines or files is in the corpus's problems. Raises ValueError when `data` does not
    exist, `layout` is unknown, nothing of it is there, or a table lacks its columns.
    """
    if not data.exists():
        raise ValueError(f"no such file or folder: {str(data)!r}; give the folder of posts or a table file")
    name = _detect(data) if layout == "auto" else _named(data, layout)
    posts = PostCollector()
    LAYOUTS[name].read(data, posts, options)
    return Corpus(data if data.is_dir() else data.parent, name, posts.samples, posts.problems, posts.notes)


def _detect(data: Path) -> str:
    for name, layout in LAYOUTS.items():
        if layout.detect(data):
            return name
    looked_for = "; ".join(f"{layout.wanted} ({name})" for name, layout in LAYOUTS.items())
    raise ValueError(f"no posts found in {str(data)!r}; looked for {looked_for}")


def _named(data: Path, name: str) -> str:
    if name not in LAYOUTS:
        near = get_close_matches(name, LAYOUTS, cutoff=0.4) or list(LAYOUTS)
        raise ValueError(f"unknown layout {name!r}; did you mean {', '.join(near)}? (or auto)")
    if not LAYOUTS[name].detect(data):
        raise ValueError(f"layout {name!r} wants {LAYOUTS[name].wanted}; {str(data)!r} has none; try auto")
    return name
