"""The lexicon's numbers are those of the words, and its spec changes with the dictionary."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from msa.features.encoders import lexicon
from msa.features.encoders.encoder import Encoder, EncoderOptions
from msa.features.encoders.lexicon import MOST_WORDS, NUMBERS
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import list_encoders, open_encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder("lexicon", "text").load(Runtime())


def numbers(encoder: Encoder, text: str) -> dict[str, float]:
    return dict(zip(NUMBERS, encoder.preprocess(text).tolist(), strict=True))


def counted(value: float) -> int:
    return round(float(np.expm1(value)))


def test_words_are_counted_and_weighed(encoder: Encoder) -> None:
    found = numbers(encoder, "A good, GREAT day and one horrible night! Why? Why?")
    counts = {name: counted(found[name]) for name in ("good words", "bad words", "exclamations", "questions", "words")}
    assert counts == {"good words": 2, "bad words": 1, "exclamations": 1, "questions": 2, "words": 10}
    assert np.expm1(found["good"]) == pytest.approx(1.9 + 3.1, abs=1e-5)
    assert np.expm1(found["bad"]) == pytest.approx(2.5, abs=1e-5)
    assert (found["best"], found["worst"]) == pytest.approx((3.1 / 4, 2.5 / 4))
    assert found["mean"] == pytest.approx((1.9 + 3.1 - 2.5) / 3 / 4)
    assert found["capitals"] == pytest.approx(1 / 10)
    assert found["pos"] + found["neg"] + found["neu"] == pytest.approx(1, abs=2e-3)


def test_negation_turns_the_whole_and_not_the_words(encoder: Encoder) -> None:
    plain, turned = numbers(encoder, "this is good"), numbers(encoder, "this isn't good")
    assert plain["compound"] > 0 > turned["compound"]
    assert plain["good"] == turned["good"]


def test_hashtags_are_taken_apart_and_links_and_names_passed_over(encoder: Encoder) -> None:
    found = numbers(encoder, "RT @happy_joe: #SoHappy #worst_day2 #NYC http://t.co/great &amp; on")
    assert [counted(found[name]) for name in ("tags", "good tags", "bad tags")] == [3, 1, 1]
    assert [counted(found[name]) for name in ("good words", "bad words")] == [1, 1]


def test_signs_are_emoticons_and_emoji(encoder: Encoder) -> None:
    found = numbers(encoder, ":) well :( 😠 😍😍")
    assert [counted(found[name]) for name in ("good signs", "bad signs")] == [3, 2]


@pytest.mark.parametrize("text", ["", "好", "#", "@", "&#", "!" * 9999, "but good " * 30_000])
def test_any_text_gives_finite_numbers_of_moderate_size(encoder: Encoder, text: str) -> None:
    vector = encoder.preprocess(text)
    assert vector.shape == (len(NUMBERS),)
    assert np.abs(vector).max(initial=0) < 12
    assert np.isfinite(vector).all()


def test_texts_are_cut_and_batches_keep_their_order(encoder: Encoder) -> None:
    assert counted(numbers(encoder, "word " * 999)["words"]) == MOST_WORDS
    texts = [f"good {'bad ' * number}" for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.preprocess, texts))
    (encoded,) = encoder.encode(together)
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(encoded.pooled[row], encoder.preprocess(text))
        np.testing.assert_array_equal(encoded.tokens[row], encoded.pooled[row][None])


def test_the_spec_says_what_decides_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = open_encoder("lexicon", "text").spec
    prints = {plain.fingerprint}
    for options in (EncoderOptions(max_length=9), EncoderOptions(clean="social")):
        prints.add(open_encoder("lexicon", "text", options).spec.fingerprint)
    for file in list(lexicon.FILES):
        monkeypatch.setitem(lexicon.FILES, file, "0" * 64)
        prints.add(open_encoder("lexicon", "text").spec.fingerprint)
    assert len(prints) == 6


def test_another_dictionary_or_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lexicon.lexicon_folder()
    assert folder is not None
    copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "vader_lexicon.txt").write_text("good\t9\n")
    monkeypatch.setattr(lexicon, "lexicon_folder", lambda: tmp_path / "copy")
    with pytest.raises(ValueError, match=r"vader_lexicon\.txt' should have sha256"):
        open_encoder("lexicon", "text").load(Runtime())
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r"needs vaderSentiment, which is missing: `pip install"):
        open_encoder("lexicon", "text")


def test_it_is_listed_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [e.here for e in list_encoders() if e.name == "lexicon"] == [True]
    monkeypatch.setattr(lexicon, "lexicon_folder", lambda: None)
    assert [e.here for e in list_encoders() if e.name == "lexicon"] == [False]
    with pytest.raises(ValueError, match="the dictionary of 'lexicon' is gone"):
        open_encoder("lexicon", "text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EncoderOptions(weights=Path(__file__)), "takes no weights file"),
        (EncoderOptions(layers=(-2,)), "layer of 'lexicon' must be one of"),
        (EncoderOptions(pools=("max",)), "pool of 'lexicon' must be one of mean; got 'max'"),
        (EncoderOptions(max_length=257), "max length of 'lexicon' must be 1 to 256 words; got 257"),
    ],
)
def test_what_cannot_be_asked_of_it_is_refused(options: EncoderOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_encoder("lexicon", "text", options)
