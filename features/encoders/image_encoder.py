"""A loaded image encoder: pixels to the model's size on the CPU, everything after that in one tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from ..spec import EncoderSpec
from .encoder import Encoded
from .engine import open_tower_engine
from .runtime import Runtime
from .tower import ImageTower, ask_states, flatten_map, pick_states


class ImageEncoder:
    """A loaded image model: uint8 RGB tensor (3, H, W) -> resized and cropped pixels -> tokens and pooled vectors."""

    def __init__(
        self, specs: Sequence[EncoderSpec], resize: Callable[[Tensor], Tensor], tower: ImageTower, runtime: Runtime
    ) -> None:
        self.specs = tuple(specs)
        self.resize = resize
        self.tower = tower
        self.engine = open_tower_engine(tower, runtime, half=self.specs[0].dtype == "float16")

    def preprocess(self, item: Tensor, key: str = "") -> Tensor:
        """Resize and crop one image to uint8 (3, h, w); the tower normalises."""
        return self.resize(item).contiguous()

    def length(self, prepared: Tensor) -> int:
        """Every image costs the same."""
        return 1

    def collate(self, batch: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """Prepared items as what the tower takes: pixels (B, 3, h, w)."""
        return (torch.stack(list(batch)),)

    def encode(self, batch: Sequence[Tensor]) -> tuple[Encoded, ...]:
        return self.tower.encoded(self.engine(*self.collate(batch)))


class MapBackbone(nn.Module):
    """A model as a tower's backbone; `features` gives its tokens (B, T, D), one tensor per layer."""

    def __init__(self, model: nn.Module, features: Callable[[Any, Tensor], list[Tensor]]) -> None:
        super().__init__()
        self.model = model
        self.features = features

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], None]:
        return self.features(self.model, pixels), None


def resize_and_crop(
    image: Tensor,
    *,
    resize_size: Sequence[int],
    crop_size: Sequence[int],
    interpolation: str,
    antialias: bool,
) -> Tensor:
    """Resize a uint8 tensor (3, H, W), short side or both, and crop the centre: uint8 all the way."""
    image = F.resize(image, list(resize_size), InterpolationMode(interpolation), antialias=antialias)
    cropped: Tensor = F.center_crop(image, list(crop_size) * (2 if len(crop_size) == 1 else 1))
    return cropped


class PixelModel(nn.Module):
    """A transformers image model as a tower's backbone."""

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.layers = list(layers)

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor | None]:
        output = self.model(pixel_values=pixels, **ask_states(self.layers))
        pooler = getattr(output, "pooler_output", None)
        return [flatten_map(states) for states in pick_states(output, self.layers)], pooler


def split_processor(processor: Any) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """A transformers image processor as its geometry, uint8 to uint8, and the numbers a tower normalises by.

    One whose normalisation is not of that form stays whole: it yields floats, which the tower leaves as they are.
    """

    def whole(image: Tensor, **switches: bool) -> Tensor:
        given = processor(image, return_tensors="pt", input_data_format="channels_first", **switches)
        pixels: Tensor = given["pixel_values"][0]
        return pixels

    def geometry(image: Tensor) -> Tensor:
        return whole(image, do_rescale=False, do_normalize=False)

    nothing: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3, "scale": 1.0}
    normal: dict[str, Any] = {
        "mean": list(processor.image_mean) if processor.do_normalize else nothing["mean"],
        "std": list(processor.image_std) if processor.do_normalize else nothing["std"],
        "scale": processor.rescale_factor if processor.do_rescale else 1.0,
    }
    sample = torch.arange(3 * 40 * 50).remainder(251).to(torch.uint8).reshape(3, 40, 50)
    pixels = geometry(sample)
    if pixels.dtype == torch.uint8:
        mean, std = (torch.tensor(normal[name]).view(3, 1, 1) for name in ("mean", "std"))
        if torch.allclose((pixels * normal["scale"] - mean) / std, whole(sample), atol=1e-5):
            return geometry, normal
    return whole, nothing
