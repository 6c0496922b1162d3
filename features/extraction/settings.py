"""How an extraction runs: device, batch sizes, threads. None of it changes the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..encoders.runtime import Runtime, choose_runtime
from ..setting import check, setting
from ..spec import Modality


@dataclass(frozen=True)
class ExtractSettings:
    """How to run; 0 means automatic. Raises ValueError naming a field that is out of range."""

    device: str = setting("auto", "Where to compute: auto, cpu, cuda, cuda:N or mps.")
    runtime: Literal["auto", "torch", "openvino"] = setting("auto", "What runs the encoders; auto: OpenVINO on CPUs.")
    compile: bool = setting(False, "Compile the model with torch.compile first.")
    streams: int = setting(0, "", minimum=0, zero="automatic")
    batch_images: int = setting(0, "Images per forward pass.", minimum=0, zero="automatic")
    batch_tokens: int = setting(0, "Word pieces per forward pass.", minimum=0, zero="automatic")
    workers: int = setting(0, "Decoding threads.", minimum=0, zero="one per core")
    tokens: bool = True
    flush_seconds: float | None = None  # the store's own

    def __post_init__(self) -> None:
        check(self)

    def choose_runtime(self) -> Runtime:
        """The runtime for this machine. Raises ValueError for a device or an engine that is not available."""
        return choose_runtime(self.device, self.runtime, streams=self.streams, compile=self.compile)

    def budget(self, modality: Modality, runtime: Runtime) -> int:
        """Images or word pieces of a forward pass. Small on a CPU, where a small batch stays in its cache."""
        asked = self.batch_images if modality == "image" else self.batch_tokens
        cpu, gpu = (4, 128) if modality == "image" else (512, 32_768)
        return asked or (cpu if runtime.device == "cpu" else gpu)
