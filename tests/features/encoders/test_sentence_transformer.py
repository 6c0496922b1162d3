"""`st:` models equal the package's own `encode`, whatever stands behind their transformer."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torchvision.transforms.functional import to_pil_image

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.zoo import open_encoder

library = pytest.importorskip("sentence_transformers", reason="the extra `st` is not installed")

PIECES = ["what", "a", "lovely", "day", "this", "is", "not", ",", "really", "!", "##s"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
TEXTS = ["what a day", "", "this is not really a lovely day , is this a lovely day !", "lovely days !"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TINY = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 3}
LOCAL = EncoderOptions(dtype="float32")
IMAGES = [
    torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(width))
    for height, width in ((50, 64), (32, 32), (40, 33))
]


def tokenizer(folder: Path) -> hf.BertTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text("\n".join(WORDS))
    return hf.BertTokenizer(vocab=str(folder / "words.txt"))


def save(folder: Path, *modules: Any, **settings: Any) -> Any:
    """A model of these modules, as the package saves and loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = library.SentenceTransformer(modules=list(modules), device="cpu", **settings)
        model.save(str(folder), create_model_card=False)
        return library.SentenceTransformer(str(folder), device="cpu")


def parts() -> Any:
    return importlib.import_module("sentence_transformers.sentence_transformer.modules")


def bert(tmp_path: Path) -> Any:
    """A tiny BERT with random weights, as the first module."""
    torch.manual_seed(0)
    hf.BertModel(hf.BertConfig(**TINY)).save_pretrained(tmp_path / "bert")
    tokenizer(tmp_path / "words").save_pretrained(tmp_path / "bert")
    return parts().Transformer(str(tmp_path / "bert"))


def clip(tmp_path: Path) -> Any:
    """A tiny CLIP of both modalities, as the only module."""
    torch.manual_seed(0)
    vision = SMALL | {"image_size": 32, "patch_size": 8}
    config = hf.CLIPConfig(text_config=TINY, vision_config=vision, projection_dim=12)
    hf.CLIPModel(config).save_pretrained(tmp_path / "clip")
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    hf.CLIPProcessor(images, tokenizer(tmp_path / "words")).save_pretrained(tmp_path / "clip")
    return parts().Transformer(str(tmp_path / "clip"))


def embed(source: Any, items: list[Any]) -> Any:
    encoder = source.load(Runtime())
    prepared = [encoder.preprocess(item) for item in items]
    together = encoder.encode(prepared)[0]
    alone = np.concatenate([encoder.encode([one])[0].pooled for one in prepared])
    np.testing.assert_allclose(together.pooled, alone, atol=1e-5)
    return together


@pytest.mark.parametrize("pooling", ["cls", "weightedmean", "lasttoken", ("mean", "max")])
def test_texts_equal_the_packages_encode(tmp_path: Path, pooling: Any) -> None:
    width = 32 if isinstance(pooling, tuple) else 16
    dense = parts().Dense(width, 10)
    model = save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, pooling), dense, parts().Normalize())
    source = open_encoder(f"st:{tmp_path / 'model'}", "text", LOCAL)
    assert (source.spec.name, source.spec.width, source.spec.modality) == ("st:model", 10, "text")
    np.testing.assert_allclose(embed(source, TEXTS).pooled, model.encode(TEXTS), atol=1e-5)


def test_tokens_are_the_token_embeddings_without_padding(tmp_path: Path) -> None:
    model = save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, "mean"))
    expected = model.encode(TEXTS, output_value="token_embeddings")
    tokens = embed(open_encoder(f"st:{tmp_path / 'model'}", "text", LOCAL), TEXTS).tokens
    for ours, theirs in zip(tokens, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_the_models_own_prompt_is_used_and_part_of_the_spec(tmp_path: Path) -> None:
    modules = bert(tmp_path), parts().Pooling(16, "mean")
    plain = save(tmp_path / "plain", *modules)
    model = save(tmp_path / "model", *modules, prompts={"day": "a lovely day "}, default_prompt_name="day")
    source = open_encoder(f"st:{tmp_path / 'model'}", "text", LOCAL)
    assert '"prompt":"a lovely day "' in source.spec.preprocess
    vectors = embed(source, TEXTS).pooled
    np.testing.assert_allclose(vectors, model.encode(TEXTS), atol=1e-5)
    assert np.abs(vectors - plain.encode(TEXTS)).max() > 1e-3


def test_a_model_of_texts_and_images_embeds_both(tmp_path: Path) -> None:
    model = save(tmp_path / "model", clip(tmp_path))
    name = f"st:{tmp_path / 'model'}"
    image, text = open_encoder(name, "image", LOCAL), open_encoder(name, "text", LOCAL)
    assert (image.spec.width, text.spec.width) == (12, 12)
    np.testing.assert_allclose(embed(image, IMAGES).pooled, model.encode(list(map(to_pil_image, IMAGES))), atol=1e-5)
    np.testing.assert_allclose(embed(text, TEXTS).pooled, model.encode(TEXTS), atol=1e-5)
    with pytest.raises(ValueError, match="this model takes no image and text together; leave @joint out"):
        open_encoder(f"{name}@joint", "text")


def test_openvino_gives_the_numbers_of_torch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino", reason="the extra `offline` is not installed")
    save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, "mean"), parts().Normalize())
    source = open_encoder(f"st:{tmp_path / 'model'}", "text", LOCAL)
    encoder = source.load(Runtime(engine="openvino"))
    np.testing.assert_allclose(encoder.encode(TEXTS)[0].pooled, embed(source, TEXTS).pooled, atol=1e-3)
    assert caplog.text == ""


def test_the_length_cuts_texts_and_is_part_of_the_spec(tmp_path: Path) -> None:
    model = save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, "mean"))
    name = f"st:{tmp_path / 'model'}"
    source = open_encoder(name, "text", EncoderOptions(dtype="float32", max_length=5))
    model.max_seq_length = 5
    np.testing.assert_allclose(embed(source, TEXTS).pooled, model.encode(TEXTS), atol=1e-5)
    assert source.spec.fingerprint != open_encoder(name, "text", LOCAL).spec.fingerprint
    with pytest.raises(ValueError, match=r"max length of .* must be 3 to 40; got 50"):
        open_encoder(name, "text", EncoderOptions(max_length=50))


def test_the_fingerprint_follows_every_file(tmp_path: Path) -> None:
    save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, "mean"), parts().Dense(16, 16))
    name = f"st:{tmp_path / 'model'}"
    before = open_encoder(name, "text").spec
    assert open_encoder(name, "text").spec == before
    save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, "max"), parts().Dense(16, 16))
    assert open_encoder(name, "text").spec.weights != before.weights


def test_what_a_model_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "model", bert(tmp_path), parts().Pooling(16, "mean"))
    name = f"st:{tmp_path / 'model'}"
    with pytest.raises(ValueError, match=r"serves text, not image; pass it as --text"):
        open_encoder(name, "image")
    with pytest.raises(ValueError, match=r"pool of 'st:model' must be one of own; got 'cls'"):
        open_encoder(f"{name}@cls", "text")
    with pytest.raises(ValueError, match=r"layer of 'st:model' must be one of -1 \(sentence_embedding\); got -2"):
        open_encoder(f"{name}@-2", "text")
    with pytest.raises(ValueError, match=r"'sentence-transformers/absent' is not in the hub's cache.*run once without"):
        open_encoder("st:absent", "text", EncoderOptions(local_files_only=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="sentence-transformers cannot load 'empty'"):
        open_encoder(f"st:{tmp_path / 'empty'}", "text")
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(ValueError, match=r"needs sentence_transformers, which is missing: `pip install"):
        open_encoder(name, "text")
