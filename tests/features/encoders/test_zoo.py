"""Every name of the registry opens, and is as wide as the registry lists; weights come from local files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf
from published_sizes import PUBLISHED

from msa.features.encoders.bundled import LITES
from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.families import find_stages, read_config
from msa.features.encoders.zoo import ENCODERS, RELEASED, TIMM, TORCHVISION, open_encoder
from msa.features.spec import canonical

HEAVY = ("nasnet", "152x2", "b7", "101", "inception", "vit")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "day"]


EMBEDDED = (*LITES, "lexicon", "lexicon_zh", "minilm", "pixels", "pixels64", "tokens")  # each has a test that opens it


def test_every_name_is_proven_somewhere() -> None:
    fitted = {name for name, known in ENCODERS.items() if known.origin == "fitted on the corpus"}
    proven = {*TORCHVISION, *TIMM, *PUBLISHED, *fitted, *EMBEDDED}
    assert set(ENCODERS) == proven, "test that it opens, and add a hub id to PUBLISHED, any other to EMBEDDED"


@pytest.mark.parametrize("page", ["encoders.md", "encoders.zh.md"])
def test_the_page_of_encoders_gives_their_widths(page: str) -> None:
    """The first number of each line of its tables; every line with a licence names a known encoder."""
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+)` \|(?: [^|0-9]+ \|| 约 100 种 \|| about 100 \|)? (\d+) \|", text, re.MULTILINE)
    assert len(lines) == 26
    assert {name: int(width) for name, width in lines} == {name: next(_widths(name)) for name, _ in lines}


def _widths(name: str) -> Iterator[int]:
    known = ENCODERS[name].widths
    return iter([known[modality] for modality in ("image", "text") if modality in known])


@pytest.mark.parametrize("name", PUBLISHED)
def test_hub_names_are_as_wide_as_their_models(tmp_path: Path, name: str) -> None:
    """The registry's width is that of the spec of a folder with the published sizes, and of the model built by them."""
    folder = tmp_path / "model"
    PUBLISHED[name].save_pretrained(folder)
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    hf.BertTokenizer(vocab=str(tmp_path / "words.txt")).save_pretrained(folder)
    hf.ViTImageProcessor().save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"")
    for modality, width in ENCODERS[name].widths.items():
        spec = open_encoder(str(folder), modality).spec
        config, _, model_class = read_config(folder, modality)
        assert spec.width == width == find_stages(config, model_class, modality)[0].width
        with torch.device("meta"):
            sizes = {
                tensor.shape[-1] for key, tensor in model_class(config).state_dict().items() if "norm" in key.lower()
            }
        assert width in sizes


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if any(h in name for h in HEAVY) else ()) for name in TIMM]
)
def test_timm_names_are_as_wide_as_their_models(name: str) -> None:
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    spec = open_encoder(name, "image").spec
    assert spec.width == TIMM[name]
    published = get_pretrained_cfg(name.removeprefix("timm:"))
    assert published is not None
    if name in RELEASED:
        assert spec.weights == f"timm:{RELEASED[name]}" == f"timm:{published.url.rpartition('/')[2]}"
    else:
        assert spec.weights == f"timm:timm/{name.removeprefix('timm:')}:{name.partition('.')[2]}"
    assert spec.preprocess == canonical(resolve_data_config(pretrained_cfg=published.to_dict()))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_names_have_the_preprocessing_of_their_weights(name: str) -> None:
    from torchvision.models import get_model_weights

    spec = open_encoder(name, "image").spec
    weights = get_model_weights(name).IMAGENET1K_V1
    given, message = json.loads(spec.preprocess), weights.transforms()
    assert given == {
        "antialias": message.antialias,
        "crop_size": message.crop_size,
        "interpolation": message.interpolation.value,
        "mean": message.mean,
        "resize_size": message.resize_size,
        "std": message.std,
    }
    assert spec.weights == f"torchvision:{weights}:{weights.url.rpartition('/')[2]}"


@pytest.mark.parametrize("name", ["gensim:doc2vec", "gensim:word2vec"])
def test_fitted_names_are_as_wide_as_said(name: str) -> None:
    source = open_encoder(name, "text", EncoderOptions(corpus=("a day a day",)))
    assert source.spec.width == ENCODERS[name].widths["text"]
