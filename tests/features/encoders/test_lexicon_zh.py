"""The Chinese lexicon's numbers are those of the words, in simplified and traditional characters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from msa.features.encoders import lexicon
from msa.features.encoders.encoder import Encoder, EncoderOptions
from msa.features.encoders.lexicon import NUMBERS_ZH
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.extract import extract
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.data.cached_features import load_features

for package in ("pysenti", "jieba", "opencc"):
    pytest.importorskip(package, reason="the extra `zh` is not installed")

TEXTS = ["今天很开心，天气真好！", "这个酒店差，失望", "我不喜欢这部电影", "我喜欢这部电影？"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder("lexicon_zh", "text").load(Runtime())


def numbers(encoder: Encoder, text: str) -> dict[str, float]:
    return dict(zip(NUMBERS_ZH, encoder.preprocess(text).tolist(), strict=True))


def corpus(*texts: str | Path) -> Corpus:
    return Corpus(Path(), "table", [Sample(str(row), None, text, "x") for row, text in enumerate(texts)])


def test_words_have_the_valence_of_the_dictionary(encoder: Encoder) -> None:
    found = numbers(encoder, "开心！失望！！电影？")
    assert np.expm1(found["good"]) == pytest.approx(2.61234173173, abs=1e-5)
    assert np.expm1(found["bad"]) == pytest.approx(1.30797290855, abs=1e-5)
    assert (found["best"], found["worst"]) == pytest.approx((2.61234173173 / 6.8, 1.30797290855 / 6.8))
    counts = [
        round(np.expm1(found[name])) for name in ("good words", "bad words", "exclamations", "questions", "words")
    ]
    assert counts == [1, 1, 3, 1, 3]


def test_negations_turn_words_and_degrees_stress_them(encoder: Encoder) -> None:
    plain, turned, twice = (numbers(encoder, text) for text in ("喜欢", "不 喜欢", "没有 不 喜欢"))
    assert (plain["good"], plain["bad"]) == (turned["bad"], turned["good"])
    assert (twice["good"], twice["negated"]) == (plain["good"], 0)
    assert round(np.expm1(turned["negated"])) == 1
    apart = numbers(encoder, "不，喜欢")
    assert (apart["good"], apart["negated"]) == (plain["good"], 0)
    stressed = numbers(encoder, "超级 喜欢")
    assert np.expm1(stressed["good"]) == pytest.approx(2 * np.expm1(plain["good"]), rel=1e-5)
    assert round(np.expm1(stressed["stressed"])) == 1


def test_traditional_characters_are_the_same_words(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.preprocess("我討厭這個電影"), encoder.preprocess("我讨厌这个电影"))
    assert numbers(encoder, "我討厭這個電影")["bad"] > 0


def test_links_and_names_are_passed_over_and_a_text_may_be_empty(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.preprocess("@小开心: 讨厌 http://t.cn/love"), encoder.preprocess("讨厌"))
    assert not encoder.preprocess("").any()


def test_threads_and_batches_change_nothing(encoder: Encoder) -> None:
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(encoder.preprocess, TEXTS * 20))
    np.testing.assert_array_equal(np.stack(rows), np.stack([encoder.preprocess(text) for text in TEXTS] * 20))
    (encoded,) = encoder.encode(rows)
    np.testing.assert_array_equal(np.concatenate(encoded.tokens), encoded.pooled)


def test_a_text_is_cut_to_its_first_words() -> None:
    short = open_encoder("lexicon_zh", "text", EncoderOptions(max_length=2))
    assert round(np.expm1(numbers(short.load(Runtime()), "讨厌 喜欢 开心 漂亮")["good words"])) == 1
    assert short.spec.fingerprint != open_encoder("lexicon_zh", "text").spec.fingerprint


def test_another_dictionary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lexicon.package_folder("pysenti")
    assert folder is not None
    copytree(folder, tmp_path / "pysenti")
    monkeypatch.setattr(lexicon, "package_folder", lambda package: tmp_path / package)
    (tmp_path / "pysenti" / "data" / "denial_dict.txt").write_text("不 1\n")
    with pytest.raises(ValueError, match=r"denial_dict\.txt' should have sha256"):
        open_encoder("lexicon_zh", "text").load(Runtime())
    (tmp_path / "pysenti" / "data" / "denial_dict.txt").unlink()
    with pytest.raises(ValueError, match=r"the dictionary of 'lexicon_zh' is gone: `pip install --force-reinstall"):
        open_encoder("lexicon_zh", "text")


def test_a_corpus_in_two_encodings_is_read_alike(tmp_path: Path, encoder: Encoder) -> None:
    for row, text in enumerate(TEXTS):
        (tmp_path / f"{row}.txt").write_bytes(text.encode("gb18030" if row % 2 else "utf-8"))
    posts = corpus(*(tmp_path / f"{row}.txt" for row in range(len(TEXTS))))
    extract(posts, EncoderRequest((), ("lexicon_zh",)), tmp_path / "cache")
    side = load_features(
        posts, tmp_path / "cache", image=[], text=[open_encoder("lexicon_zh", "text").spec], tokens=False
    ).text
    assert side is not None
    np.testing.assert_array_equal(side.pooled, np.stack([encoder.preprocess(text) for text in TEXTS]))


def test_english_encoders_of_chinese_texts_are_pointed_out(tmp_path: Path) -> None:
    posts, ask = corpus(*TEXTS, "a lovely day"), EncoderRequest((), ("lexicon",))
    with pytest.warns(
        Notice, match=r"4 of 5 texts are Chinese, and lexicon learnt from English; take --text lexicon_zh"
    ):
        open_sources(ask, posts, tmp_path / "cache")
    for silent in (("lexicon_zh",), ("lexicon", "lexicon_zh")):  # a warning would be an error
        open_sources(replace(ask, text=silent), posts, tmp_path / "cache")
    open_sources(ask, corpus("a day", "a lovely day", TEXTS[0]), tmp_path / "cache")
