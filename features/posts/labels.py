"""Reads label files beside a `data/` folder of `<id>.jpg` and `<id>.txt`: course, MVSA and ID-label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from .cells import Tally, count_missing, is_missing
from .folder import IMAGE_SUFFIXES, TEXT_SUFFIXES, Folder, PostCollector
from .samples import Sample
from .text import read_lines

LabelRule = Literal["paper", "text", "image", "agree"]

COURSE_FILES = ("train.txt", "test_without_label.txt")
MVSA_FILE = "labelResultAll.txt"
ID_LABEL_FILE = "ID-label.txt"
POLARITIES = ("positive", "neutral", "negative")
UNDECODABLE = "neither UTF-8 nor GB18030; save the file as UTF-8"


class NoLabelError(ValueError):
    """A label rule gives a post no label; the message is the reason."""


def read_pairs(root: Path, posts: PostCollector, *, files: Sequence[str]) -> None:
    """Those of the files that exist: lines `id,label`; an empty label or `null` is none, as are other words for it."""
    folder = Folder(root / "data")
    tally = Tally()
    for name in (name for name in files if (root / name).is_file()):
        for number, (line, text) in enumerate(_lines(root / name, posts)):
            id, comma, label = (part.strip() for part in text.rpartition(","))
            if number == 0 and id.lower() in {"guid", "id"} and label.lower() in {"tag", "label"}:
                continue
            if not id or not comma or "," in id:
                posts.report(name, line, f"{_quoted(text)} is not `id,label`")
            elif posts.claim(id, name, line):
                missing = is_missing(label)
                if missing and label.lower() not in {"", "null"}:  # the words of the layout itself
                    count_missing("label", label, tally)
                _add(folder, posts, id, None if missing else label, name, line)
    posts.notes.extend(tally.notes())
    _note_unlisted(folder, posts, [sample.id for sample in posts.samples])


def read_mvsa(root: Path, posts: PostCollector, *, rule: LabelRule) -> None:
    """`labelResultAll.txt`: `id`, then one `text,image` pair of labels per annotator, between tabs."""
    folder = Folder(root / "data")
    dropped: Counter[str] = Counter()
    listed: list[str] = []
    for line, text in _lines(root / MVSA_FILE, posts):
        id, *columns = (part.strip() for part in text.split("\t"))
        if not listed and id.lower() == "id":
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
            _add(folder, posts, id, label, MVSA_FILE, line)
    posts.notes.append(_kept_and_dropped(rule, len(posts.samples), dropped))
    _note_unlisted(folder, posts, listed)


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


def _add(folder: Folder, posts: PostCollector, id: str, label: str | None, file: str, line: int) -> None:
    try:
        images, texts = folder.candidates(id, IMAGE_SUFFIXES), folder.candidates(id, TEXT_SUFFIXES)
    except ValueError as error:
        posts.report(file, line, f"id refused: {error}")
        return
    image, text = posts.pick(images, id, file, line), posts.pick(texts, id, file, line)
    posts.add(Sample(id, image, text, label), file, line)


def _lines(path: Path, posts: PostCollector) -> Iterator[tuple[int, str]]:
    """Line number and text of every line that is not blank; undecodable lines are reported."""
    for line, text in enumerate(read_lines(path), start=1):
        if text is None:
            posts.report(path.name, line, UNDECODABLE)
        elif text.strip():
            yield line, text


def _note_unlisted(folder: Folder, posts: PostCollector, listed: Sequence[str]) -> None:
    if unlisted := folder.stems().difference(listed):
        posts.notes.append(f"{len(unlisted)} posts in data/ are in no label file and are left out")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
