"""Long texts are split into windows that an encoder takes whole, at spaces where there are some."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from msa.features.words.windows import equal_parts, split_windows, windowed_splitter
from msa.features.words.word_pieces import Word, Words


def test_a_short_text_is_one_window_and_a_long_one_the_fewest() -> None:
    assert split_windows("so happy", lambda text: len(text) > 8) == ["so happy"]
    assert all(len(part) <= 9 for part in split_windows("one two three four", lambda text: len(text) > 9))


@given(st.text(alphabet="ab \n\u3000", max_size=60), st.integers(1, 9))
def test_parts_lose_nothing_but_spaces(text: str, count: int) -> None:
    parts = equal_parts(text, count)
    assert 1 <= len(parts) <= count
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_tokens_of_all_windows_follow_one_another() -> None:
    def split(text: str) -> Words:
        found = text.split()
        return Words([Word(word, (at,)) for at, word in enumerate(found[:2])], len(found[:2]), cut=len(found) > 2)

    words = windowed_splitter(split)("a b c d e")
    assert [word for word, _ in words.words] == ["a", "b", "c", "d", "e"]
    assert [places for _, places in words.words] == [(0,), (1,), (2,), (3,), (4,)]
    assert words.tokens == 5
