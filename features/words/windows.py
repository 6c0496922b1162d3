"""Splits a long text into windows that an encoder takes whole."""

from __future__ import annotations

from collections.abc import Callable

from .word_pieces import Splitter, Word, Words

SPACES = " \n\t\u3000"
SLACK = 2  # a window may end at a space in its second half; Chinese has none


def split_windows(text: str, is_cut: Callable[[str], bool]) -> list[str]:
    """The fewest parts of about equal length that are not cut, or nearly the fewest of more than eight.

    A part of one character may still be cut.
    """
    count, parts = 1, [text]
    while count < len(text) and any(map(is_cut, parts)):
        count += 1 + count // 8
        parts = equal_parts(text, count)
    return parts


def equal_parts(text: str, count: int) -> list[str]:
    """At most `count` parts of a text of about equal length, without spaces around them; at least one."""
    size, parts, start = len(text) / count, [], 0
    for number in range(1, count + 1):
        end = round(number * size)
        if number < count:
            least = max(start + 1, end - int(size / SLACK))
            end = max((at for space in SPACES if (at := text.rfind(space, least, end + 1)) > 0), default=end)
        parts.append(text[start:end].strip())
        start = end
    return [part for part in parts if part] or [""]


def windowed_splitter(split: Splitter) -> Splitter:
    """The words of all windows of a text, whose tokens follow one another."""

    def split_all(text: str) -> Words:
        words: list[Word] = []
        tokens = 0
        for window in split_windows(text, lambda part: split(part).cut):
            found = split(window)
            words += [Word(word, tuple(tokens + place for place in places)) for word, places in found.words]
            tokens += found.tokens
        return Words(words, tokens)

    return split_all
