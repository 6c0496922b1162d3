"""Decodes texts from bytes, and cleans them on request."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from ..spec import BadItem, Clean
from .samples import read_file

MAX_CHARACTERS = 500_000  # of one text; a post has some hundred, and a tokenizer needs seconds for so many
MAX_CLEANING = 10_000_000  # characters that `clean_text` may process in its repeated passes

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its marks

# Words without sentiment. Negations and contrasts (not, no, never, nor, but, …) are left out on purpose.
STOP_WORDS = frozenset(
    """a about am an and are as at be been being by did do does doing for from had has have having he her hers
    him his i im in into is it its ive just me my of on or our ours own she so some such than that thats the
    their theirs them then there these they this those through to until up was we were what when where which
    while who whom will with you your yours""".split()  # noqa: SIM905 (a list is one word a line)
)

_URL = re.compile(r"(?:https?://|\bwww\.)[!-~]*", re.IGNORECASE)  # ASCII only: Chinese may follow without a space
_RETWEET = re.compile(r"(?<!\w)RT\s*[@＠][\w-]+\s*[:：]?|^\s*RT\b[:：]?")
_MENTION = re.compile(r"(?<!\w)[@＠][\w-]+")
_CLOSED_TAG = re.compile(r"[#＃]([^#＃\s]+)[#＃]")  # Weibo
_OPEN_TAG = re.compile(r"(?<!\w)[#＃](?=\w)")
_ENDLESS = re.compile(r"&#[0-9]{4000,};?")  # more digits than Python turns into a number
_SPACE = re.compile(r"\s+")
_EMOJI_STYLE = re.compile("[\ufe00-\ufe0f]")  # variation selectors, which are marks
_WORDLIKE = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No"})  # letters, digits and their marks


def read_lines(path: Path) -> list[str | None]:
    """The lines of a label file or table, as `decode_lines` returns them. Raises ValueError."""
    try:
        return decode_lines(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    except BadItem as error:
        raise ValueError(f"cannot read {path}: {error}; save it as UTF-8") from error


def decode_lines(raw: bytes) -> list[str | None]:
    """Decode a label file or table line by line, without line ends; None for a line in no known encoding.

    The encoding of most lines is tried first, so that a few damaged ones do not change that of the whole file.
    """
    if raw.startswith(UTF_16):
        raw = _characters(raw).encode()
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    foreign = sum(_try(line, "utf-8") is None for line in lines)
    beyond_ascii = sum(not line.isascii() for line in lines)
    first, second = ("utf-8", "gb18030") if 2 * foreign <= beyond_ascii else ("gb18030", "utf-8")
    decoded = [_try(line, first) for line in lines]
    return [_try(line, second) if text is None else text for line, text in zip(lines, decoded, strict=True)]


def decode_text(raw: bytes) -> str:
    """Decode one text: UTF-8 or UTF-16 by its mark, UTF-8, else GB18030; stripped, line ends as `\\n`.

    Raises BadItem for binary data, for bytes in none of these encodings, and beyond MAX_CHARACTERS.
    """
    return _normalise(_characters(raw))


def read_text(source: Path | str) -> str:
    """The text of a file, or of a str that is the text itself. Raises BadItem."""
    return _normalise(source) if isinstance(source, str) else decode_text(read_file(source, "text"))


def clean_text(text: str, level: Clean) -> str:
    """Clean a text; cleaning it twice changes nothing more. The result may be empty.

    `none` returns it unchanged. `social` drops links, @mentions and retweet marks, resolves HTML entities, strips
    the # of tags and collapses white space. `strict` also lower-cases, and drops special characters and stop words.
    Raises BadItem for a text so nested that this would take seconds.
    """
    if level not in CLEANERS:
        raise ValueError(f"unknown cleaning {level!r}; choose one of {', '.join(CLEANERS)}")
    # A removal can join two halves of a link or an entity: repeat until nothing changes.
    work = 0
    while (cleaned := CLEANERS[level](text)) != text:
        text, work = cleaned, work + len(text)
        if work > MAX_CLEANING:
            raise BadItem(f"links, tags or entities so nested that cleaning would pass over {work} characters")
    return text


def _social(text: str) -> str:
    text = _URL.sub(" ", html.unescape(_ENDLESS.sub("\ufffd", text)))
    text = _MENTION.sub(" ", _RETWEET.sub(" ", text))
    text = _OPEN_TAG.sub("", _CLOSED_TAG.sub(r"\1 ", text))
    return _SPACE.sub(" ", text).strip()


def _strict(text: str) -> str:
    text = _social(text).lower().replace("'", "").replace("’", "")  # "don't" stays one word
    text = _EMOJI_STYLE.sub(" ", text)
    kept = "".join(character if unicodedata.category(character) in _WORDLIKE else " " for character in text)
    return " ".join(word for word in kept.split() if word not in STOP_WORDS)


CLEANERS: dict[Clean, Callable[[str], str]] = {"none": lambda text: text, "social": _social, "strict": _strict}


def _characters(raw: bytes) -> str:
    for encoding in ("utf-16",) if raw.startswith(UTF_16) else ("utf-8-sig", "gb18030"):
        text = _try(raw, encoding)
        if text is not None:
            return text
    raise BadItem("neither UTF-8, UTF-16 nor GB18030")


def _try(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def _normalise(text: str) -> str:
    if "\0" in text:
        raise BadItem("binary, not text")
    if len(text) > MAX_CHARACTERS:
        raise BadItem(f"{len(text)} characters: over the limit of {MAX_CHARACTERS}")
    # JSON may hold half a surrogate pair, which no encoder or hash accepts.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
