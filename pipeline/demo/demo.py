"""The demo corpus: drawn pictures and written posts in the course layout, labelled by both together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Literal

from PIL import Image

from ..config.config_template import FILE, Commands, write_config
from .pictures import Mood, draw_scene
from .texts import VALENCE, Tone, write_post

MARKER = "DEMO.txt"
NOTICE = """\
This corpus was drawn and written by `msa demo`; it is not real data, and scores on it do not transfer to real posts.
A post's label depends on its picture and its text together; about one label in twenty-five is wrong on purpose.
"""
MIN_POSTS = 64  # fewer posts could not hold the planted faults and five folds
UNLABELLED = 8  # one post in this many
PAIRS: dict[tuple[Mood, Tone], int] = {  # frequency of each pair of picture and text
    (1, "good"): 15, (1, "flat"): 13, (1, "bad"): 1, (1, "sarcastic"): 3,
    (0, "good"): 18, (0, "flat"): 24, (0, "bad"): 12, (0, "sarcastic"): 5,
    (-1, "good"): 1, (-1, "flat"): 12, (-1, "bad"): 12, (-1, "sarcastic"): 6,
}  # fmt: skip
WRONG = 0.04  # share of wrong labels
LABELS = ("positive", "neutral", "negative")
ORIENTATION = 0x0112  # EXIF tag; 6 means that viewers rotate the image 90 degrees clockwise


@dataclass(frozen=True)
class DemoSummary:
    """The corpus that was written. `duplicates` counts texts and images that repeat those of an earlier post."""

    folder: Path
    posts: int
    labels: Mapping[str, int]
    unlabelled: int
    missing_image: int
    missing_text: int
    unreadable: int
    duplicates: int

    def __str__(self) -> str:
        labels = ", ".join(f"{count} {label}" for label, count in self.labels.items())
        return (
            f"{self.posts} drawn posts, not real data, in {self.folder}: {labels}, {self.unlabelled} unlabelled; "
            f"on purpose {self.missing_image} lack the image, {self.missing_text} the text, "
            f"{self.unreadable} image is broken, {self.duplicates} parts repeat"
        )


@dataclass(frozen=True)
class _Post:
    guid: int
    mood: Mood
    tone: Tone
    shift: Literal[0, 1, 2]  # 0: correct label, 1 and 2: a wrong one
    image: bytes | None
    suffix: str
    text: bytes | None

    @property
    def label(self) -> str:
        score = self.mood + VALENCE[self.tone]
        correct = 0 if score > 0 else 1 if score == 0 else 2
        return LABELS[(correct + self.shift) % len(LABELS)]


def write_demo_corpus(
    folder: Path, *, posts: int = 320, seed: int = 0, commands: Commands | None = None
) -> DemoSummary:
    """Write a corpus to `folder`, and an `msa.toml` unless there is one.

    The same `posts` and `seed` give the same bytes with the same version of Pillow. An earlier demo corpus is replaced.
    With `commands` (from `command_options`), `msa.toml` lists every option. Raises ValueError for a folder with other
    content, or for fewer than 64 posts.
    """
    if posts < MIN_POSTS:
        raise ValueError(f"a demo corpus needs at least {MIN_POSTS} posts, got {posts}")
    _prepare(folder)
    rng = Random(seed)
    guids = rng.sample(range(1, 2 * posts), posts)
    drawn = _plant_faults([_draw(guid, rng) for guid in guids], rng)
    for post in drawn:
        for suffix, content in ((post.suffix, post.image), (".txt", post.text)):
            if content is not None:
                (folder / "data" / f"{post.guid}{suffix}").write_bytes(content)
    hidden = posts // UNLABELLED
    _write_table(folder / "train.txt", ((post.guid, post.label) for post in drawn[hidden:]))
    _write_table(folder / "test_without_label.txt", ((post.guid, "null") for post in drawn[:hidden]))
    if not (folder / FILE).exists():
        write_config(folder / FILE, data=".", image="efficientnet_lite0", text="minilm", commands=commands)
    labels = Counter(post.label for post in drawn[hidden:])
    return DemoSummary(
        folder=folder,
        posts=posts,
        labels={label: labels[label] for label in LABELS},
        unlabelled=hidden,
        missing_image=sum(post.image is None for post in drawn),
        missing_text=sum(post.text is None for post in drawn),
        unreadable=1,
        duplicates=_repeats([post.image for post in drawn], [post.text for post in drawn]),
    )


def _prepare(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"the demo corpus needs a folder, but {str(folder)!r} is a file; name another")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ValueError(f"{str(folder)!r} is not a demo corpus and not empty; name a new or empty folder")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(NOTICE, encoding="utf-8")
    for old in (folder / "data").iterdir():  # other seeds have other guids and suffixes
        if old.stem.isdigit() and old.is_file():
            old.unlink()


def _draw(guid: int, rng: Random) -> _Post:
    mood, tone = rng.choices([*PAIRS], [*PAIRS.values()])[0]
    shift: Literal[0, 1, 2] = rng.choice((1, 2)) if rng.random() < WRONG else 0
    image, suffix = _encode_image(draw_scene(mood, rng), rng)
    return _Post(guid, mood, tone, shift, image, suffix, _encode_text(tone, rng))


def _encode_image(image: Image.Image, rng: Random) -> tuple[bytes, str]:
    """Mostly plain JPEG, and one image in eight in a format that breaks naive readers."""
    form = rng.choices(["plain", "upper", "png", "palette", "cmyk", "grey", "turned", "disguised"], [49] + [1] * 7)[0]
    buffer, quality = BytesIO(), rng.randint(75, 92)
    if form in ("png", "disguised"):
        image.save(buffer, "PNG", compress_level=1)
    elif form == "palette":
        image.quantize(128).save(buffer, "PNG")
    elif form == "turned":
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=quality, exif=exif)
    else:
        mode = {"cmyk": "CMYK", "grey": "L"}.get(form, "RGB")
        image.convert(mode).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), {"upper": ".JPG", "png": ".png", "palette": ".png"}.get(form, ".jpg")


def _encode_text(tone: Tone, rng: Random) -> bytes:
    """Mostly UTF-8; some texts in GB18030 (Chinese, or English in Chinese quotes), with a byte order mark, or CRLF."""
    chinese = rng.random() < 0.06
    text = write_post(tone, rng, chinese=chinese)
    dice = rng.random()
    if dice < (0.6 if chinese else 0.08):
        return (text if chinese else f"“{text}”").encode("gb18030") + b"\n"
    return text.encode("utf-8-sig" if dice > 0.98 else "utf-8") + (b"\r\n" if dice > 0.9 else b"\n")


def _plant_faults(drawn: list[_Post], rng: Random) -> list[_Post]:
    """Remove and repeat parts of labelled posts, and break one of their pictures."""
    count = max(2, len(drawn) // 80)
    chosen = iter(rng.sample(range(len(drawn) // UNLABELLED, len(drawn)), 6 * count + 1))
    for _ in range(count):
        at = next(chosen)
        drawn[at] = replace(drawn[at], image=None, mood=0)
        at = next(chosen)
        drawn[at] = replace(drawn[at], text=None, tone="flat")
        source, at = drawn[next(chosen)], next(chosen)
        drawn[at] = replace(drawn[at], text=source.text, tone=source.tone)
        source, at = drawn[next(chosen)], next(chosen)
        drawn[at] = replace(drawn[at], image=source.image, suffix=source.suffix, mood=source.mood)
    at = next(chosen)
    drawn[at] = replace(drawn[at], image=b"\xff\xd8\xff\xe0 the upload stopped here", suffix=".jpg", mood=0)
    return drawn


def _repeats(*columns: Iterable[bytes | None]) -> int:
    return sum(sum(n - 1 for part, n in Counter(column).items() if part is not None) for column in columns)


def _write_table(path: Path, rows: Iterable[tuple[int, str]]) -> None:
    path.write_text("guid,tag\n" + "".join(f"{guid},{tag}\n" for guid, tag in rows), encoding="utf-8")
