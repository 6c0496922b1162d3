"""`@logits` are a classification model's own, `@prompts` the cosines of a model of images and texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch.nn.functional import cosine_similarity

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.sources import EncoderRequest, open_sources, reopen
from msa.features.encoders.zoo import open_encoder
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import Modality

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "lovely", "day", "sad", "photo"]
TEXTS = ["what a day", "", "lovely lovely day what a lovely photo", "sad"]
SENTENCES = ("a lovely photo", "a sad day , what a sad day", "photo")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WORDY = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 20, "pad_token_id": 0, "eos_token_id": 3}
PATCHY = SMALL | {"image_size": 32, "patch_size": 8}
NAMES = {"id2label": {0: "negative", 1: "neutral", 2: "positive"}}
LOCAL = EncoderOptions(dtype="float32")
IMAGES = [
    torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(width))
    for height, width in ((50, 64), (32, 32), (40, 33))
]
PAIRS = {
    "clip": hf.CLIPConfig(text_config=WORDY, vision_config=PATCHY, projection_dim=12),
    "chinese_clip": hf.ChineseCLIPConfig(text_config=WORDY, vision_config=PATCHY, projection_dim=12),
    "siglip": hf.SiglipConfig(text_config=WORDY, vision_config=PATCHY),
}


def write(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    (folder.parent / "words.txt").write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(folder.parent / "words.txt")).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def build(model_class: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return model_class(config).eval()


def embed(source: Any, items: list[Any]) -> np.ndarray:
    """Pooled vectors of a batch, which are also those of single items and the only token of each."""
    encoder = source.load(Runtime())
    prepared = [encoder.preprocess(item) for item in items]
    (together,) = encoder.encode(prepared)
    alone = np.concatenate([encoder.encode([one])[0].pooled for one in prepared])
    np.testing.assert_allclose(together.pooled, alone, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate(together.tokens), together.pooled)
    return together.pooled


def inputs(folder: Path, item: Any, **padding: Any) -> dict[str, Any]:
    if isinstance(item, str):
        found = hf.AutoTokenizer.from_pretrained(folder)(item, return_tensors="pt", truncation=True, **padding)
        return {name: value for name, value in found.items() if not (padding and name == "attention_mask")}
    reader = hf.AutoImageProcessor.from_pretrained(folder)
    return dict(reader(item, return_tensors="pt", input_data_format="channels_first"))


@pytest.mark.parametrize("kind", ["roberta", "bert", "distilbert", "vit"])
def test_logits_are_the_models_own_with_the_names_of_its_classes(tmp_path: Path, kind: str) -> None:
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "vocab_size": 11}
    model = {
        "roberta": lambda: build(hf.RobertaForSequenceClassification, hf.RobertaConfig(**WORDY, **NAMES)),
        "bert": lambda: build(hf.BertForSequenceClassification, hf.BertConfig(**WORDY, **NAMES)),
        "distilbert": lambda: build(
            hf.DistilBertForSequenceClassification, hf.DistilBertConfig(**sizes, **NAMES, pad_token_id=0)
        ),
        "vit": lambda: build(hf.ViTForImageClassification, hf.ViTConfig(**PATCHY, **NAMES)),
    }[kind]()
    modality: Modality = "image" if kind == "vit" else "text"
    items: list[Any] = IMAGES if kind == "vit" else TEXTS
    folder = write(tmp_path / "model", model)
    source = open_encoder(f"{folder}@logits", modality, LOCAL)
    assert (source.spec.name, source.spec.width, source.spec.pool) == ("model@logits", 3, "logits")
    assert json.loads(source.spec.preprocess)["numbers"] == ["negative", "neutral", "positive"]
    with torch.inference_mode():
        expected = np.concatenate([model(**inputs(folder, item)).logits for item in items])
    np.testing.assert_allclose(embed(source, items), expected, atol=1e-5)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("modality", ["image", "text"])
def test_prompts_are_cosines_of_a_post_with_each_sentence(tmp_path: Path, kind: str, modality: Modality) -> None:
    model = build(hf.AutoModel.from_config, PAIRS[kind])
    folder = write(tmp_path / "model", model)
    source = open_encoder(f"{folder}@prompts", modality, replace(LOCAL, sentences=SENTENCES))
    assert (source.spec.width, source.spec.layer) == (3, "prompts")
    assert json.loads(source.spec.preprocess)["numbers"] == list(SENTENCES)
    padding = {"padding": "max_length", "max_length": 20} if kind == "siglip" else {}

    def words(text: str) -> Any:
        return model.get_text_features(**inputs(folder, text, **padding)).pooler_output

    items: list[Any] = IMAGES if modality == "image" else TEXTS
    with torch.inference_mode():
        sentences = torch.cat([words(sentence) for sentence in SENTENCES])
        read = words if modality == "text" else lambda x: model.get_image_features(**inputs(folder, x)).pooler_output
        expected = torch.cat([cosine_similarity(read(item), sentences)[None] for item in items])
    np.testing.assert_allclose(embed(source, items), expected.numpy(), atol=1e-5)


def test_the_sentences_are_part_of_the_cached_encoder(tmp_path: Path) -> None:
    folder = write(tmp_path / "clip", build(hf.CLIPModel, PAIRS["clip"]))
    corpus = Corpus(tmp_path, "table", [Sample("1", None, "a day")])
    specs = []
    for sentences in (SENTENCES, SENTENCES[::-1]):
        request = EncoderRequest((), (f"{folder}@prompts",), replace(LOCAL, sentences=sentences))
        (source,) = open_sources(request, corpus, tmp_path / "cache")
        assert reopen(source.spec, tmp_path / "cache").spec == source.spec
        specs.append(source.spec)
    assert specs[0].fingerprint != specs[1].fingerprint
    with pytest.raises(ValueError, match=r"--sentence is for an encoder NAME@prompts; got minilm"):
        open_sources(EncoderRequest((), ("minilm",), replace(LOCAL, sentences=("a",))), corpus, tmp_path / "cache")


def test_what_cannot_be_numbered_is_refused(tmp_path: Path) -> None:
    bert = write(tmp_path / "bert", build(hf.BertModel, hf.BertConfig(**WORDY)))
    clip = write(tmp_path / "clip", build(hf.CLIPModel, PAIRS["clip"]))
    cases = {
        f"{bert}@logits": r"has no text classes: its config names BertModel; take a checkpoint …ForSequenceClassif",
        f"{bert}@prompts": r"does not embed images and texts together; take one that does, as CLIP, for @prompts",
        f"{clip}@prompts": r"clip@prompts needs sentences: --sentence 'a happy photo' --sentence 'a sad photo'",
        f"{clip}@logits": r"has no text classes: its config names CLIPModel",
        f"{bert}@-2@logits": r"bert@logits is one vector of the last layer; leave out --layers and --pool",
        "minilm@logits": r"pool of 'minilm' must be one of mean, cls, max, last, pooler; got 'logits'",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=message):
            open_encoder(name, "text", LOCAL)
    with pytest.raises(ValueError, match=r"'resnet18' must be one of mean, max; got 'logits'"):
        open_encoder("resnet18@logits", "image", LOCAL)
