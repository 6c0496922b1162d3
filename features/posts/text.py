"""Decodes texts from bytes, and cleans them on request."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..regular_files import regular
from ..spec import BadItem, Clean
from ..words.chinese import CJK, STOP_WORDS_ZH, split_chinese
from .samples import read_file

MAX_CHARACTERS = 500_000  # of one text; a post has some hundred, and a tokenizer needs seconds for so many
MAX_CLEANING = 10_000_000  # characters that `clean_text` may process in its repeated passes

UTF_8, UTF_16, GB18030, WINDOWS = "UTF-8", "UTF-16", "GB18030", "Windows-1252"  # as Python knows them, too
UTF_8_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")

# Bytes beyond ASCII, as signs of GB18030 (pairs, and four bytes with digits; its rows A8 and A9 hold dashes) or
# of Windows-1252 (single bytes), or of neither: an accented letter beside a quotation mark, or before a capital, or
# before ASCII that is no letter but could be the second byte of a pair.
_FOREIGN = re.compile(
    rb"(?:[\x80-\x9f][\xc0-\xff]|[\xc0-\xff][\x80-\x9f])(?![\x80-\xff])|[\xdf-\xff][A-Z]|[\x80-\xa7\xaa-\xff][\[-`@{-~]"
    rb"|(?P<pair>[\x81-\xfe][0-9][\x81-\xfe][0-9]|[\xa8\xa9][@-~]|[\x80-\xff]{2,})|(?P<single>[\x80-\xff])"
)

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
_CHINESE = re.compile("[\u4e00-\u9fff]")
_OTHER_WORD = re.compile(r"[^\W\d_\u4e00-\u9fff]+")
_SPACE = re.compile(r"\s+")
_EMOJI_STYLE = re.compile("[\ufe00-\ufe0f]")  # variation selectors, which are marks
_WORDLIKE = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No"})  # letters, digits and their marks


def read_lines(path: Path) -> tuple[list[str | None], list[str]]:
    """The lines of a label file or table, as `decode_lines` returns them, and notes of encodings. Raises ValueError."""
    try:
        lines, encodings = decode_lines(regular(path).read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    except BadItem as error:
        raise ValueError(f"cannot read {path}: {error}; save it as UTF-8") from error
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}; give the table or label file itself") from error
    return lines, [
        f"{count} lines read as {name}; save it as UTF-8 if that is wrong" for name, count in encodings.items()
    ]


def decode_lines(raw: bytes) -> tuple[list[str | None], Counter[str]]:
    """Decode a label file or table line by line, without line ends; None for a line in no known encoding.

    The encoding of most lines is tried first, so that a few damaged ones do not change that of the whole file. Also
    returns how many lines are in which encoding, those in UTF-8 and UTF-16 left out.
    """
    if raw.startswith(UTF_16_MARKS) or _unmarked_utf_16(raw):
        raw = _characters(raw)[0].encode()
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
    lines = [line.removesuffix(b"\r").removeprefix(UTF_8_MARK) for line in raw.split(b"\n")]  # of files joined, too
    foreign = [line for line in lines if _try(line, UTF_8) is None]
    beyond_ascii = sum(not line.isascii() for line in lines)
    other = WINDOWS if 2 * sum(map(_is_windows, foreign)) > len(foreign) else GB18030
    # Any line could be Windows-1252, but hardly one of it is UTF-8.
    encodings = (UTF_8, other) if other == WINDOWS or 2 * len(foreign) <= beyond_ascii else (other, UTF_8)
    decoded = [_first(line, UTF_8 if line.isascii() else encodings[0], encodings[1]) for line in lines]
    return [text for text, _ in decoded], Counter(name for text, name in decoded if text is not None and name == other)


def decode_text(raw: bytes) -> str:
    """Decode one text: UTF-8 or UTF-16 by its mark, UTF-8, else GB18030 or Windows-1252; line ends as `\\n`, stripped.

    Raises BadItem for binary data, for bytes in none of these encodings, and beyond MAX_CHARACTERS.
    """
    return decode_with_encoding(raw)[0]


def decode_with_encoding(raw: bytes) -> tuple[str, str]:
    """The text that `decode_text` returns, and its encoding."""
    text, encoding = _characters(raw)
    return _normalise(text), encoding


def read_text(source: Path | str) -> str:
    """The text of a file, or of a str that is the text itself. Raises BadItem."""
    return _normalise(source) if isinstance(source, str) else decode_text(read_file(source, "text"))


def is_chinese(text: str) -> bool:
    """Whether a text has more Chinese characters than words of letters of other scripts."""
    return len(_CHINESE.findall(text)) > len(_OTHER_WORD.findall(text))


def clean_text(text: str, level: Clean) -> str:
    """Clean a text; cleaning it twice changes nothing more. The result may be empty.

    `none` returns it unchanged. `social` drops links, @mentions and retweet marks, resolves HTML entities, strips
    the # of tags and collapses white space. `strict` also lower-cases, and drops special characters and stop words.
    `strict_zh` drops Chinese stop words, too; jieba splits the words. `tweet` writes @user for each mention and http
    for each link, as for TweetEval (Barbieri et al., 2020), on whose tweets the models of cardiffnlp were trained.
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


def _strict_zh(text: str) -> str:
    words = (part for word in _strict(text).split() for part in (split_chinese(word) if CJK.search(word) else [word]))
    return " ".join(word for word in words if word.strip() and word not in STOP_WORDS_ZH)


def _tweet(text: str) -> str:
    words = ("@user" if len(word) > 1 and word[0] == "@" else word for word in text.split(" "))
    return " ".join("http" if word.startswith("http") else word for word in words)


CLEANERS: dict[Clean, Callable[[str], str]] = {
    "none": lambda text: text,
    "social": _social,
    "strict": _strict,
    "strict_zh": _strict_zh,
    "tweet": _tweet,
}


def _characters(raw: bytes) -> tuple[str, str]:
    """The text of a file, and its encoding."""
    if unmarked := _unmarked_utf_16(raw):
        raw = unmarked + raw
    others = (UTF_8, WINDOWS if not raw.isascii() and _is_windows(raw) else GB18030)
    text, encoding = _first(raw.removeprefix(UTF_8_MARK), *((UTF_16,) if raw.startswith(UTF_16_MARKS) else others))
    if text is None:
        raise BadItem("neither UTF-8, UTF-16, GB18030 nor Windows-1252")
    return text, encoding


def _unmarked_utf_16(raw: bytes) -> bytes:
    """The mark that UTF-16 without one lacks; empty for other bytes. Most of its high bytes are 0."""
    if len(raw) % 2 or b"\0" not in raw:
        return b""
    first, second = raw[::2].count(0), raw[1::2].count(0)
    controls = any(0 < byte < 9 for byte in raw)  # of binary data
    if controls or min(first, second) or 8 * max(first, second) < 3 * len(raw):
        return b""
    return UTF_16_MARKS[first > 0]


def _is_windows(raw: bytes) -> bool:
    """Whether bytes that are not UTF-8 are Windows-1252 rather than GB18030.

    Its characters beyond ASCII are single bytes, mostly within words or beside spaces. Those of GB18030 are two bytes,
    of which the second is seldom a letter, or four. So `don\\x92t` is Windows-1252, though GB18030 could be read.
    """
    kinds = Counter(match.lastgroup for match in _FOREIGN.finditer(raw))
    if kinds["single"] <= kinds["pair"] or _try(raw, WINDOWS) is None:
        return False
    dense = 3 * sum(byte > 0x7F for byte in raw) > len(raw)  # Chinese without spaces
    return not dense or _try(raw, GB18030) is None


def _first(raw: bytes, *encodings: str) -> tuple[str | None, str]:
    """The text in the first of the encodings that can be, and that encoding; None, and the last, where none can."""
    text, encoding = None, ""
    for encoding in encodings:
        if (text := _try(raw, encoding)) is not None:
            break
    return text, encoding


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
