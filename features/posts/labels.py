"""Reads label files beside a `data/` folder of `<id>.jpg` and `<id>.txt`: course, MVSA and ID-label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from .cells import Tally, count_missing, is_missing, known_split
from .collector import PostCollector
from .directory import is_file, is_folder, is_leftover
from .post_folder import PostFolder

LabelRule = Literal["paper", "text", "image", "agree"]

# Label files, and the split that each is.
COURSE_FILES = {"train.txt": None, "test_without_label.txt": None}
ID_LABEL_FILES = {"ID-label.txt": None}
ID_LABEL_SPLITS = {f"ID-label-{name}.txt": name.replace("dev", "val") for name in ("train", "val", "dev", "test")}
MVSA_FILE = "labelResultAll.txt"
LABEL_FILES = (*COURSE_FILES, MVSA_FILE, *ID_LABEL_FILES, *ID_LABEL_SPLITS)
POLARITIES = ("positive", "neutral", "negative")
UNDECODABLE = "neither UTF-8, GB18030 nor Windows-1252; save the file as UTF-8"


class NoLabelError(ValueError):
    """A label rule gives a post no label; the message is the reason."""


def read_pairs(root: Path, posts: PostCollector, *, files: Mapping[str, str | None]) -> None:
    """Those of the files that exist, each with its split: lines `id,label`; an empty label or `null` is none.

    So are the other words for a missing value.
    """
    folder = PostFolder(root / "data", posts)
    tally = Tally()
    for name, split in ((name, split) for name, split in files.items() if is_file(root / name)):
        for number, (line, text) in enumerate(_lines(root / name, posts)):
            separator = next((one for one in (",", "\t", ";") if one in text), ",")
            id, _, label = (_unquoted(part.strip()) for part in text.rpartition(separator))
            if id.lower() in {"guid", "id"} and label.lower() in {"tag", "label"}:
                if number:
                    tally["lines that repeat the header, left out", name] += 1
                continue
            if not id or separator in id:
                posts.report(name, line, f"{_quoted(text)} is not `id,label`")
            elif posts.claim(id, name, line):
                if separator != ",":
                    tally["lines with a tab or a semicolon in place of the comma", name] += 1
                missing = is_missing(label)
                if missing and label.lower() not in {"", "null"}:  # the words of the layout itself
                    count_missing("label", label, tally)
                folder.add(id, None if missing else label, split, name, line)
    posts.notes.extend(tally.notes())
    folder.note_rest([sample.id for sample in posts.samples])
    _note_unread(root, posts, files)


def read_mvsa(root: Path, posts: PostCollector, *, rule: LabelRule) -> None:
    """`labelResultAll.txt`: `id`, then one `text,image` pair of labels per annotator, between tabs."""
    folder = PostFolder(root / "data", posts)
    dropped: Counter[str] = Counter()
    listed: list[str] = []
    for number, (line, text) in enumerate(_lines(root / MVSA_FILE, posts)):
        id, *columns = (part.strip() for part in text.rstrip().split("\t"))
        if number == 0 and id.lower() == "id":
            continue
        pairs = [tuple(part.strip().lower() for part in column.split(",")) for column in columns]
        if not id or not pairs or any(len(p) != 2 or not set(p) <= set(POLARITIES) for p in pairs):
            wanted = "`id`, a tab, and `text,image` pairs of " + ", ".join(POLARITIES)
            posts.report(MVSA_FILE, line, f"{_quoted(text)} is not {wanted}")
            continue
        if not posts.claim(id, MVSA_FILE, line):
            continue
        listed.append(id)
        try:
            label = combine([p[0] for p in pairs], [p[1] for p in pairs], rule=rule)
        except NoLabelError as reason:
            dropped[str(reason)] += 1
        else:
            folder.add(id, label, None, MVSA_FILE, line)
    posts.notes.append(_kept_and_dropped(rule, len(posts.samples), dropped))
    folder.note_rest(listed)
    _note_unread(root, posts, [MVSA_FILE])


def find_id_labels(root: Path) -> Mapping[str, str | None]:
    """The ID-label files of a folder: one for each split, else the one of all posts, else none."""
    if not is_folder(root / "data"):
        return {}
    found = [
        {name: files[name] for name in files if is_file(root / name)} for files in (ID_LABEL_SPLITS, ID_LABEL_FILES)
    ]
    return found[0] or found[1]


def combine(text: Sequence[str], image: Sequence[str], *, rule: LabelRule) -> str:
    """One label from the annotators' text and image labels. Raises NoLabelError where the rule gives none.

    Each modality takes the majority of its annotators, then the rule applies: `text` and `image` take that modality's
    label; `agree` needs both equal; `paper` (Xu and Mao, 2017) also replaces a neutral label by a polar one.
    """
    if rule in ("text", "image"):
        return _majority(text if rule == "text" else image)
    labels = {_majority(text), _majority(image)}
    if rule == "paper":
        labels = labels - {"neutral"} or labels
    if len(labels) > 1:
        raise NoLabelError("contradictory" if rule == "paper" else "text and image differ")
    return labels.pop()


def _majority(labels: Sequence[str]) -> str:
    label, count = Counter(labels).most_common(1)[0]
    if 2 * count <= len(labels):
        raise NoLabelError("without a majority")
    return label


def _kept_and_dropped(rule: str, kept: int, dropped: Counter[str]) -> str:
    reasons = [reason if len(dropped) == 1 else f"{count} {reason}" for reason, count in dropped.most_common()]
    listed = f" ({', '.join(reasons)})" if reasons else ""
    return f"label rule {rule}: kept {kept}, dropped {dropped.total()}{listed}"


def _lines(path: Path, posts: PostCollector) -> Iterator[tuple[int, str]]:
    """Line number and text of every line that is not blank; undecodable lines are reported."""
    for line, text in enumerate(posts.lines(path), start=1):
        if text is None:
            posts.report(path.name, line, UNDECODABLE)
        elif text.strip():
            yield line, text


def _note_unread(root: Path, posts: PostCollector, read: Collection[str]) -> None:
    """Note label files of other layouts, and those that are called as a split."""
    unread = [name for name in LABEL_FILES if name not in read and is_file(root / name)]
    if unread:
        posts.notes.append(f"not read: {', '.join(unread)}; --layout names the layout to read")
    files = sorted(file.name for file in root.glob("*.txt") if known_split(file.stem) and not is_leftover(file.name))
    if others := [name for name in files if name not in {*LABEL_FILES, *read}]:
        wanted = ", ".join(ID_LABEL_SPLITS)
        posts.notes.append(f"not read: {', '.join(others)}; for several splits, call label files {wanted}")


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
