"""Joins the word pieces of a text to words: which of an encoder's token positions belong to which word."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .chinese import CJK

LINK = re.compile(r"(?:https?://|\bwww\.)[!-~]*", re.IGNORECASE)
INSIDE, BEFORE = "_'’", "#＃@＠"  # signs inside a word, and before it
WORD_LENGTH, TEXT_LENGTH = 4, 100  # characters kept of a word and of a text, times the word pieces kept


class Word(NamedTuple):
    """A word as the text has it, and the positions of its pieces among the tokens, from 0."""

    text: str
    positions: tuple[int, ...]


class Words(NamedTuple):
    """The words of a text in order, and its number of tokens; those of no word are special, or white space.

    `cut`: the text is longer than the encoder's limit, so that its end is left out.
    """

    words: list[Word]
    tokens: int
    cut: bool = False


Splitter = Callable[[str], Words]  # of a cleaned text


def tokenizer_file_splitter(file: Path, length: int) -> Splitter:
    """The words of a tokenizer.json, cut to `length` word pieces; imports no transformers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(length)
    tokenizer.no_padding()

    def split(text: str) -> Words:
        found = tokenizer.encode(text)
        special = {place for place, is_special in enumerate(found.special_tokens_mask) if is_special}
        return Words(join_spans(text, found.offsets, special), len(found.ids), bool(found.overflowing))

    return split


def tokenizer_splitter(tokenizer: Any, length: int) -> Splitter:
    """The words of a tokenizer of transformers, cut to `length` word pieces; one in Python has no offsets."""

    def split(text: str) -> Words:
        fast = is_fast(tokenizer)
        found = run_tokenizer(tokenizer, text, length, return_offsets_mapping=fast)
        ids, cut = found["input_ids"], is_cut(tokenizer, text, length)
        special = {place for place, one in enumerate(ids) if one in set(tokenizer.all_special_ids)}
        special -= {place for place, one in enumerate(ids) if one == tokenizer.unk_token_id}
        if fast:
            return Words(join_spans(text, found["offset_mapping"], special), len(ids), cut)
        return Words(join_marked(tokenizer.convert_ids_to_tokens(ids), special), len(ids), cut)

    return split


def is_fast(tokenizer: Any) -> bool:
    """Whether a tokenizer of transformers is one in Rust."""
    return bool(getattr(tokenizer, "is_fast", True))


def run_tokenizer(tokenizer: Any, text: str, length: int | None, **options: bool) -> Any:
    """The word pieces of a text by a tokenizer of transformers, special ones included, cut to `length`."""
    given = text if length is None or is_fast(tokenizer) else shorten(text, length)
    return tokenizer(given, truncation=True, max_length=length, padding=False, **options)


def is_cut(tokenizer: Any, text: str, length: int | None) -> bool:
    """Whether a text is longer than `length` word pieces of a tokenizer of transformers, special ones included."""
    if length is None:
        return False
    if is_fast(tokenizer):
        return bool(run_tokenizer(tokenizer, text, length).encodings[0].overflowing)
    found = run_tokenizer(tokenizer, text, length, return_overflowing_tokens=True)
    return shorten(text, length) != text or found.get("num_truncated_tokens", 0) > 0


def shorten(text: str, pieces: int) -> str:
    """A text for a tokenizer in Python, whose time grows with the square of a word or faster, cut to `pieces`.

    Only a text that is far longer than so many word pieces changes, or one with such a word.
    """
    words = text.split()
    if len(text) <= TEXT_LENGTH * pieces and max(map(len, words), default=0) <= WORD_LENGTH * pieces:
        return text
    return " ".join(word[: WORD_LENGTH * pieces] for word in words)[: TEXT_LENGTH * pieces]


def before_text(preprocess: str) -> tuple[str, bool]:
    """What the preprocessing of a spec does to a text before it is split: its prompt, and whether it is lower-cased."""
    known = json.loads(preprocess)
    return known.get("prompt", ""), known.get("lower", False)


def after_prompt(split: Splitter, preprocess: str) -> Splitter:
    """The words of a text and of the prompt before it, as the encoder gets them."""
    prompt, lower = before_text(preprocess)
    return lambda text: split((prompt + text).lower() if lower else prompt + text)


def listed_splitter(words_of: Callable[[str], Sequence[str]]) -> Splitter:
    """The words of an encoder that has one token for each."""

    def split(text: str) -> Words:
        words = [Word(word, (place,)) for place, word in enumerate(words_of(text))]
        return Words(words, len(words))

    return split


def join_spans(text: str, spans: Iterable[tuple[int, int]], special: Collection[int]) -> list[Word]:
    """Words of pieces that are given as spans of characters: pieces that touch or overlap inside a word are joined.

    A link is one word; Chinese characters are words of their own, as no space divides them.
    """
    links = {place for link in LINK.finditer(text) for place in range(link.start() + 1, link.end())}
    found: list[tuple[int, int, list[int]]] = []
    for place, (start, end) in enumerate(spans):
        start += len(text[start:end]) - len(text[start:end].lstrip())
        end = start + len(text[start:end].rstrip())
        if place in special or start >= end:
            continue
        joined = start in links or _inside_word(text[start - 1], text[start])
        if found and (start < found[-1][1] or (start == found[-1][1] and joined)):
            first, last, places = found[-1]
            found[-1] = first, max(last, end), [*places, place]
        else:
            found.append((start, end, [place]))
    return [Word(text[start:end], tuple(places)) for start, end, places in found]


def _inside_word(one: str, two: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    if unicodedata.category(two).startswith("M"):  # an accent, or the style of an emoji
        return True
    if CJK.match(one) or CJK.match(two):
        return False
    return _is_letter(two) and (_is_letter(one) or one in BEFORE)


def _is_letter(one: str) -> bool:
    return unicodedata.category(one)[0] in "LNM" or one in INSIDE


def join_marked(pieces: Sequence[str], special: Collection[int]) -> list[Word]:
    """Words of pieces whose marks say what is joined: `##` before (BERT), `@@` or no `</w>` after, `▁` or `Ġ` before.

    Sennrich et al., 2016; Kudo & Richardson, 2018.
    """
    plain = [piece for place, piece in enumerate(pieces) if place not in special]
    starts = any(piece.startswith(("▁", "Ġ")) for piece in plain)  # else a word begins unless a mark joins it
    ends = any(piece.endswith("</w>") for piece in plain)
    found: list[tuple[str, list[int]]] = []
    joined = False
    for place, piece in enumerate(pieces):
        if place in special:
            joined = False
            continue
        text = piece.removeprefix("##").removesuffix("@@").removesuffix("</w>").lstrip("▁Ġ")
        own = piece.startswith(("▁", "Ġ")) if starts else not (piece.startswith("##") or joined)
        if own or not found or place - 1 in special:
            found.append((text, [place]))
        else:
            found[-1] = found[-1][0] + text, [*found[-1][1], place]
        joined = piece.endswith("@@") or (ends and not piece.endswith("</w>"))
    return [Word(text, tuple(places)) for text, places in found]
