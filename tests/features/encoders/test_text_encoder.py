"""Texts far longer than any post take time in proportion to their length, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import transformers as hf

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.lexicon import MOST_EXPANDED
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.text_encoder import TextEncoder
from msa.features.encoders.word_vectors import split_words
from msa.features.encoders.zoo import open_encoder
from msa.features.words.chinese import load_jieba
from msa.features.words.word_pieces import TEXT_LENGTH, WORD_LENGTH, shorten

LONG = 50_000


def spy(function: Callable[[str], Any], seen: list[str]) -> Callable[..., Any]:
    def called(text: str, *arguments: Any, **options: Any) -> Any:
        seen.append(text)
        return function(text, *arguments, **options)

    return called


@pytest.mark.parametrize("text", ["😀", "😀 ", "#AaBb", "#A1 ", "good ", "a", "👍🏽", "ok😀"])
def test_the_rules_of_the_lexicon_see_a_bounded_number_of_words(text: str) -> None:
    pytest.importorskip("vaderSentiment")
    encoder: Any = open_encoder("lexicon", "text").load(Runtime())
    seen: list[str] = []
    encoder.analyser.polarity_scores = spy(encoder.analyser.polarity_scores, seen)
    numbers = encoder.preprocess(text * (LONG // len(text)))
    assert np.isfinite(numbers).all()
    expanded = "".join(f" {encoder.analyser.emojis[sign]}" if sign in encoder.emoji else sign for sign in seen[0])
    assert len(expanded.split()) <= MOST_EXPANDED


def test_a_post_is_seen_whole() -> None:
    pytest.importorskip("vaderSentiment")
    encoder: Any = open_encoder("lexicon", "text").load(Runtime())
    seen: list[str] = []
    encoder.analyser.polarity_scores = spy(encoder.analyser.polarity_scores, seen)
    text = "so good 😀 not bad " * 50
    encoder.preprocess(text)
    assert seen == [text.strip()]


def test_a_sentence_that_jieba_splits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jieba")
    jieba, seen = load_jieba(), []
    inner = jieba.dt._Tokenizer__cut_DAG
    monkeypatch.setattr(jieba.dt, "_Tokenizer__cut_DAG", spy(inner, seen))
    rare = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(2_000))
    split_words(rare + "a" * 2_000)
    assert seen
    assert max(map(len, seen)) <= 500
    text = "今天天气很好，" * 300  # a long text of short sentences
    assert split_words(text) == ["今天天气", "很", "好"] * 300


@pytest.mark.parametrize("unit", ["a.", "天", "a b ", " ", "https://t.co/", "e\u0301"])
def test_a_tokenizer_in_python_sees_a_bounded_text(tmp_path: Path, unit: str) -> None:
    (tmp_path / "vocab.txt").write_text("a@@ 1\nb 1\n")
    (tmp_path / "bpe.codes").write_text("a b</w> 1\n")
    tokenizer: Any = hf.BertweetTokenizer(str(tmp_path / "vocab.txt"), str(tmp_path / "bpe.codes"))
    assert not tokenizer.is_fast
    seen: list[str] = []

    class Spied:
        is_fast = False
        __call__ = staticmethod(spy(tokenizer, seen))

    encoder: Any = TextEncoder.__new__(TextEncoder)
    (spec,) = open_encoder("tokens", "text", EncoderOptions(max_length=20)).specs
    encoder.specs, encoder.tokenizer, encoder.lock = (spec,), Spied(), Lock()
    pieces = encoder.preprocess(unit * (LONG // len(unit)))
    assert len(seen[0]) <= TEXT_LENGTH * 20
    assert max(map(len, seen[0].split()), default=0) <= WORD_LENGTH * 20
    assert len(pieces["input_ids"]) == (20 if unit != " " else 2)


def test_a_post_is_not_shortened() -> None:
    for text in ("a post\n with  spaces ", "https://t.co/" + "a" * 200, "天" * 140):
        assert shorten(text, 128) == text
