"""An encoder of texts that the workers of a Ray cluster can import, and how they open it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.spec import BadItem, EncoderSpec

SPEC = EncoderSpec("fake", "text", "timm", "fake", "sha256:0", "last", "mean", "{}", 4, "float32")


class Fake(Encoder):
    """Embeds a text by its letters; knows no `unknown` one, and fails at one that is `broken`."""

    specs = (SPEC,)

    def preprocess(self, item: str, key: str = "") -> str:
        if "unknown" in item:
            raise BadItem("no known word")
        return item

    def length(self, prepared: str) -> int:
        return len(prepared)

    def is_cut(self, item: str, prepared: str) -> bool:
        return len(item) > 4

    def encode(self, batch: Sequence[str]) -> tuple[Encoded, ...]:
        time.sleep(0.01)
        if any("broken" in item for item in batch):
            raise RuntimeError("the model is broken")
        letters = [np.array([ord(letter) for letter in item], np.float32) for item in batch]
        tokens = [np.outer(given, [1, 2, 3, 4]).astype(np.float32) for given in letters]
        return (Encoded(np.stack([item.mean(0) for item in tokens]), list(tokens)),)


@dataclass(frozen=True)
class FakeRequest:
    """Stands for `msa.features.extraction.ray_worker.OpenRequest`."""

    cache: Path
    folder: Path = Path()

    def open(self) -> list[Source]:
        return [Source((SPEC,), lambda runtime: Fake())]
