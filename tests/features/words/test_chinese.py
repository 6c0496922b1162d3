"""Chinese stop words are dropped on request; which splitting did it is in the spec."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder
from msa.features.posts.text import clean_text
from msa.features.spec import Clean
from msa.features.words.chinese import STOP_WORDS_ZH

pytest.importorskip("jieba", reason="the extra `zh` is not installed")


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ("我们今天在这里吃的，味道很好！ The best 😀", "今天 吃 味道 很 好 best"),
        ("這個電影不是我的目的，但是很好看", "電影 不是 目的 但是 很 好看"),
        ("我的的", ""),
        ("an English day, isn't it", "english day isnt"),
    ],
)
def test_strict_cleaning_of_chinese_drops_its_stop_words(text: str, strict: str) -> None:
    assert clean_text(text, "strict_zh") == strict == clean_text(strict, "strict_zh")


def test_negations_contrasts_and_degrees_are_no_stop_words() -> None:
    kept = "不 没 沒 没有 沒有 无 無 非 别 別 未 莫 不是 但 但是 却 卻 可是 不过 虽然 很 太 非常 更 最"
    assert STOP_WORDS_ZH.isdisjoint(kept.split())


@pytest.mark.parametrize("name", ["tokens", "gensim:word2vec"])
def test_another_version_of_jieba_is_another_encoder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gensim")
    options = {level: EncoderOptions(corpus=("味道 味道",), clean=level) for level in ("strict", "strict_zh")}
    plain, chinese = (open_encoder(name, "text", option).spec for option in options.values())
    assert "clean" not in json.loads(plain.preprocess)
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda package: "9" if package == "jieba" else version(package))
    later = open_encoder(name, "text", options["strict_zh"]).spec
    assert json.loads(later.preprocess)["clean"] == json.loads(chinese.preprocess)["clean"] | {"jieba": "9"}
    assert later.fingerprint != chinese.fingerprint


def test_word_vectors_learn_no_stop_words() -> None:
    pytest.importorskip("gensim", reason="the extra `gensim` is not installed")
    texts = ("我们今天在这里吃的，味道很好", "他们的味道不好", "今天的味道很好")
    words = []
    levels: tuple[Clean, ...] = ("strict", "strict_zh")
    for level in levels:
        corpus = tuple(clean_text(text, level) for text in texts)
        encoder: Any = open_encoder("gensim:word2vec", "text", EncoderOptions(corpus=corpus, clean=level))
        words.append(set(encoder.load(Runtime()).fitted.words))
    assert "的" in words[0]
    assert words[1] == {"今天", "味道", "很", "好"}
