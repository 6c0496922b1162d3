"""How an extraction runs: device, batch sizes, threads. None of it changes the numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ..encoders.runtime import Runtime
from ..spec import Modality
from ..store.store import FLUSH_SECONDS


@dataclass(frozen=True)
class ExtractSettings:
    """How to run; 0 means automatic.

    A forward pass takes `batch_images` images or `batch_tokens` word pieces; `workers` threads decode.
    """

    device: str = "auto"
    runtime: str = "auto"
    compile: bool = False
    streams: int = 0
    batch_images: int = 0
    batch_tokens: int = 0
    workers: int = 0
    tokens: bool = True
    flush_seconds: float = FLUSH_SECONDS

    def __post_init__(self) -> None:
        for name in ("batch_images", "batch_tokens", "workers", "streams"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name.replace('_', ' ')} must be 0 (automatic) or more; got {getattr(self, name)}")

    def budget(self, modality: Modality, runtime: Runtime) -> int:
        """Images or word pieces of a forward pass. Small on a CPU, where a small batch stays in its cache."""
        asked = self.batch_images if modality == "image" else self.batch_tokens
        cpu, gpu = (4, 128) if modality == "image" else (512, 32_768)
        return asked or (cpu if runtime.device == "cpu" else gpu)
