"""`@whole`: the encoder sees the whole picture, stretched, and its features are known as such."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.image_encoder import ImageEncoder
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.vision import build_torchvision
from msa.features.encoders.zoo import open_encoder

PICTURE = torch.randint(0, 256, (3, 90, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "side"), [("efficientnet_lite0", 224), ("efficientnet_lite2", 260), ("resnet18", 224)]
)
def test_the_whole_picture_is_stretched_to_the_models_square(name: str, side: int, tmp_path: Path) -> None:
    options = EncoderOptions()
    if name == "resnet18":
        torch.save(build_torchvision(name).state_dict(), tmp_path / "weights.pth")
        options = EncoderOptions(weights=tmp_path / "weights.pth")
    whole, own = open_encoder(f"{name}@whole", "image", options), open_encoder(name, "image", options)
    assert [spec.name for spec in whole.specs] == [f"{name}@whole"]
    assert whole.specs[0].fingerprint != own.specs[0].fingerprint
    encoder = whole.load(Runtime("cpu", "torch"))
    assert isinstance(encoder, ImageEncoder)
    kind = InterpolationMode.BILINEAR if name == "resnet18" else InterpolationMode.BICUBIC
    expected = F.resize(PICTURE, [side, side], kind, antialias=True)
    assert torch.equal(encoder.preprocess(PICTURE), expected)


def test_layers_views_and_the_whole_picture_go_together() -> None:
    (spec,) = open_encoder("efficientnet_lite0@-2@max@whole@view1", "image").specs
    assert spec.name == "efficientnet_lite0@-2@max@whole@view1"
    assert open_encoder("timm:resnet18.a1_in1k@whole", "image").specs[0].name == "timm:resnet18.a1_in1k@whole"


@pytest.mark.parametrize(
    ("name", "modality"), [("openai/clip-vit-base-patch32", "image"), ("minilm", "text"), ("pixels", "image")]
)
def test_others_refuse_it(name: str, modality: str) -> None:
    with pytest.raises(ValueError, match="has no variant @whole"):
        open_encoder(f"{name}@whole", modality)  # type: ignore[arg-type]
