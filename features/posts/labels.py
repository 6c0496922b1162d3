"""Label files that stand beside a `data/` folder of `<id>.jpg` and `<id>.txt`: course, MVSA, and ID-label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

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
    """A label rule finds no label for a post; the message is the reason that is counted."""


def read_course(root: Path, posts: PostCollector) -> None:
    """`train.txt`, then `test_without_label.txt`: lines `guid,tag`; the tag null or nothing is no label."""
    folder = Folder(root / "data")
    for name in COURSE_FILES:
        if (root / name).is_file():
            _read_pairs(root / name, folder, posts)
    _note_unlisted(folder, posts, [sample.id for sample in posts.samples])


def read_id_label(root: Path, posts: PostCollector) -> None:
    """`ID-label.txt`: lines `id,label`; the labels stay as they are spelled."""
    folder = Folder(root / "data")
    _read_pairs(root / ID_LABEL_FILE, folder, posts)
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
            posts.report(MVSA_FILE, line, f"{_shown(text)} is not {wanted}")
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
    """One label from the annotators' text and image labels; raise NoLabelError where the rule gives none.

    First each modality's majority of annotators (one annotator is his own), then the rule: `text` or `image` take
    that modality's; `agree` wants both equal; `paper` (Xu and Mao, 2017) also lets a neutral one yield to a polar one.
    """
    return RULES[rule](text, image)


def _majority(labels: Sequence[str]) -> str:
    label, count = Counter(labels).most_common(1)[0]
    if 2 * count <= len(labels):
        raise NoLabelError("without a majority")
    return label


def _agree(text: Sequence[str], image: Sequence[str]) -> str:
    label = _majority(text)
    if label != _majority(image):
        raise NoLabelError("text and image differ")
    return label


def _paper(text: Sequence[str], image: Sequence[str]) -> str:
    labels = {_majority(text), _majority(image)}
    polar = labels - {"neutral"}
    if len(polar) > 1:
        raise NoLabelError("contradictory")
    return (polar or labels).pop()


RULES: dict[LabelRule, Callable[[Sequence[str], Sequence[str]], str]] = {
    "paper": _paper,
    "text": lambda text, image: _majority(text),
    "image": lambda text, image: _majority(image),
    "agree": _agree,
}


def _kept_and_dropped(rule: str, kept: int, dropped: Counter[str]) -> str:
    reasons = [reason if len(dropped) == 1 else f"{count} {reason}" for reason, count in dropped.most_common()]
    return f"label rule {rule}: kept {kept}, dropped {dropped.total()}" + (
        f" ({', '.join(reasons)})" if reasons else ""
    )


def _read_pairs(path: Path, folder: Folder, posts: PostCollector) -> None:
    first = True
    for line, text in _lines(path, posts):
        id, comma, label = (part.strip() for part in text.rpartition(","))
        header = first and id.lower() in {"guid", "id"} and label.lower() in {"tag", "label"}
        first = False
        if header:
            continue
        if not id or not comma or "," in id:
            posts.report(path.name, line, f"{_shown(text)} is not `id,label`")
        elif posts.claim(id, path.name, line):
            _add(folder, posts, id, None if label.lower() in {"", "null"} else label, path.name, line)


def _add(folder: Folder, posts: PostCollector, id: str, label: str | None, file: str, line: int) -> None:
    try:
        images, texts = folder.candidates(id, IMAGE_SUFFIXES), folder.candidates(id, TEXT_SUFFIXES)
    except ValueError as error:
        posts.report(file, line, f"id refused: {error}")
        return
    image, text = posts.pick(images, id, file, line), posts.pick(texts, id, file, line)
    posts.add(Sample(id, image, text, label), file, line)


def _lines(path: Path, posts: PostCollector) -> Iterator[tuple[int, str]]:
    """Line number and text of every line that is not blank; undecodable ones are reported."""
    for line, text in enumerate(read_lines(path), start=1):
        if text is None:
            posts.report(path.name, line, UNDECODABLE)
        elif text.strip():
            yield line, text


def _note_unlisted(folder: Folder, posts: PostCollector, listed: Sequence[str]) -> None:
    if unlisted := folder.stems().difference(listed):
        posts.notes.append(f"{len(unlisted)} posts in data/ stand in no label file and are left out")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
