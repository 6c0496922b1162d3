"""Data layouts: detected automatically or chosen by name, and read into one Corpus."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import get_args

from . import labels, table_files, tables
from .classes import merge_spellings
from .collector import PostCollector
from .columns import CANONICAL
from .directory import is_file, is_folder, is_leftover
from .labels import LabelRule
from .remote.settings import Remote
from .samples import Corpus
from .shards import find_saved, find_shards, load_hub

HUB = "hf:"  # before the name of a data set on the Hugging Face hub


@dataclass(frozen=True)
class ReadOptions:
    """How posts are read, as `msa check --help` says.

    `label_rule` is for MVSA; `columns` maps id, image, text, label, split, group to columns of a table, NAME or #4;
    `images` is the folder from which the paths of images count, None: that of the table, or data/. `remote` is how
    images that are links are fetched, if they are.
    """

    label_rule: LabelRule = "paper"
    columns: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None
    remote: Remote = Remote()

    def __post_init__(self) -> None:
        if self.label_rule not in get_args(LabelRule):
            raise ValueError(f"unknown label rule {self.label_rule!r}; choose one of {', '.join(get_args(LabelRule))}")
        for name in self.columns:
            if name not in CANONICAL:
                raise ValueError(f"unknown column {name!r}; choose among {', '.join(CANONICAL)}")
        if self.images is not None and not self.images.is_dir():
            raise ValueError(
                f"no such folder: {str(self.images)!r}; --images names the one that image paths count from"
            )


@dataclass(frozen=True)
class Layout:
    """A description of the files it needs, how it is detected at a path, and how it is read."""

    files: str
    detect: Callable[[Path], object]  # true, or the files that were found
    read: Callable[[Path, PostCollector, ReadOptions], None]


# In the order of detection: layouts with a file of a fixed name come first.
LAYOUTS: dict[str, Layout] = {
    "course": Layout(
        "data/ beside train.txt or test_without_label.txt",
        lambda path: is_folder(path / "data") and any(is_file(path / f) for f in labels.COURSE_FILES),
        lambda path, posts, options: labels.read_pairs(path, posts, files=labels.COURSE_FILES),
    ),
    "mvsa": Layout(
        "data/ beside labelResultAll.txt",
        lambda path: is_folder(path / "data") and is_file(path / labels.MVSA_FILE),
        lambda path, posts, options: labels.read_mvsa(path, posts, rule=options.label_rule),
    ),
    "id-label": Layout(
        "data/ beside ID-label.txt, or ID-label-train.txt and ID-label-test.txt",
        labels.find_id_labels,
        lambda path, posts, options: labels.read_pairs(path, posts, files=labels.find_id_labels(path)),
    ),
    "huggingface": Layout(
        "dataset_dict.json or state.json, as `save_to_disk` of datasets writes them",
        find_saved,
        lambda path, posts, options: tables.read_saved(path, posts, columns=options.columns),
    ),
    "imagefolder": Layout(
        "metadata.csv or metadata.jsonl in the folder or its sub-folders",
        table_files.find_metadata,
        lambda path, posts, options: tables.read_imagefolder(path, posts, columns=options.columns),
    ),
    "hateful-memes": Layout(
        "train.jsonl, dev.jsonl or test.jsonl with `img`",
        table_files.find_memes,
        lambda path, posts, options: tables.read_memes(path, posts, columns=options.columns),
    ),
    "table": Layout(
        "a .csv, .tsv, .jsonl, .json, .parquet or .arrow file",
        table_files.find_tables,
        lambda path, posts, options: tables.read_table(path, posts, columns=options.columns),
    ),
    "webdataset": Layout(
        "one or several .tar files",
        find_shards,
        lambda path, posts, options: tables.read_webdataset(path, posts, columns=options.columns),
    ),
}


def _find_below(data: Path, candidates: Mapping[str, Layout]) -> list[str]:
    """The first sub-folders that hold posts, as of an archive that was unpacked into a folder of its own."""
    folders = (child for child in sorted(data.iterdir()) if not is_leftover(child.name) and is_folder(child))
    with suppress(OSError):
        found = (str(child) for child in folders if any(one.detect(child) for one in candidates.values()))
        return list(islice(found, 3))
    return []


def _candidates(data: Path, layout: str) -> Mapping[str, Layout]:
    """The layouts that a path may have. Raises ValueError where it leads to nothing that is read."""
    is_pattern = table_files.is_pattern(data)
    if is_pattern and not table_files.find_tables(data):
        raise ValueError(f"no table is named {str(data)!r}; a pattern in quotes names several, as 'posts/task_*.tsv'")
    if not data.exists() and not is_pattern:
        raise ValueError(f"no such file or folder: {str(data)!r}; give the folder of posts or a table file")
    if not data.is_dir() and not data.is_file() and not is_pattern:
        raise ValueError(f"{str(data)!r} is a device, a pipe or a socket; give the folder of posts or a table file")
    if layout != "auto" and layout not in LAYOUTS:
        near = get_close_matches(layout, LAYOUTS, cutoff=0.4) or list(LAYOUTS)
        raise ValueError(f"unknown layout {layout!r}; did you mean {', '.join(near)}? (or auto)")
    if is_pattern and layout not in {"auto", "table"}:
        raise ValueError(f"{str(data)!r} names tables; leave out --layout {layout}, or give a folder")
    return {"table": LAYOUTS["table"]} if is_pattern else LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}


def read_corpus(data: Path, *, layout: str = "auto", options: ReadOptions = ReadOptions()) -> Corpus:
    """Read all posts of a folder, of one table file, of those that a pattern names (`task_*.tsv`), or of
    `hf:OWNER/NAME`, in the order of its files.

    Faults of single lines and files are in the corpus's problems. Raises ValueError where `data` does not exist,
    `layout` is unknown or does not match, or a table lacks its columns.
    """
    if str(data).startswith(HUB):
        data = load_hub(str(data).removeprefix(HUB))
    if (scheme := re.match(r"([a-z0-9+]+):/", str(data))) and not data.exists():  # Path has dropped a slash
        link = str(data).replace(":/", "://", 1)
        raise ValueError(
            f'posts are read from a disk, not from {link!r}; copy them: `python -c "import fsspec; '
            f"fsspec.filesystem({scheme[1]!r}).get({link!r}, 'posts/', recursive=True)\"`; images may stay links"
        )
    candidates = _candidates(data, layout)
    name = next((name for name, one in candidates.items() if one.detect(data)), None)
    if data.is_file() and data.name in labels.LABEL_FILES and name in {None, "table"} and not options.columns:
        raise ValueError(f"{str(data)!r} holds labels of a folder of posts; give the folder: {str(data.parent)!r}")
    if name is None and data.is_file():
        raise ValueError(
            f"{str(data)!r} is no {'table' if layout == 'auto' else f'file of layout {layout}'}; "
            f"give the folder of posts, or a table: {LAYOUTS['table'].files}; unpack archives first"
        )
    if name is None and (below := _find_below(data, candidates)):
        raise ValueError(f"no posts found in {str(data)!r}; did you mean {' or '.join(map(repr, below))}?")
    if name is None and layout == "auto":
        looked_for = "; ".join(f"{one.files} ({name})" for name, one in LAYOUTS.items())
        raise ValueError(f"no posts found in {str(data)!r}; looked for {looked_for}")
    if name is None:
        raise ValueError(f"layout {layout!r} needs {LAYOUTS[layout].files}; {str(data)!r} has none; try auto")
    posts = PostCollector(options.images, options.remote)
    LAYOUTS[name].read(data, posts, options)
    posts.note_links()
    posts.note_several()
    samples, spellings = merge_spellings(posts.samples)
    root, table = (data, "") if data.is_dir() else (data.parent, data.name)
    return Corpus(root, name, samples, posts.problems, [*posts.notes, *spellings], table=table)
