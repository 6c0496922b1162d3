"""What is fine-tuned: encoders, with which head, on which rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...features.encoders.encoder import EncoderOptions
from ...features.encoders.sources import EncoderRequest
from ...features.spec import Modality
from ..config.head_config import HeadConfig
from ..config.tune_config import TuneConfig
from ..config.values import GroupBy


@dataclass(frozen=True)
class TuneRequest:
    """One encoder, or one of each modality together with a fusion head, and the folds on whose rows they are tuned.

    The split is the one in `cache` that `msa train-head` uses with the same folds and seed. `fold` None: each of them,
    one after another. Raises ValueError where encoders and head do not go together.
    """

    encoders: EncoderRequest
    config: TuneConfig = TuneConfig()
    head: HeadConfig | None = None
    cache: Path = Path("cache")
    folds: int | None = None
    fold: int | None = None
    group_by: GroupBy = "both"
    near_duplicates: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        pairs = self.encoders.pairs()
        if not pairs or len(self.names) < len(pairs):
            raise ValueError("one encoder of a modality is tuned at a time; give --image NAME, --text NAME, or both")
        if len(pairs) == 1 and self.head:
            joined = f"--fusion {self.head.fusion} joins an image and a text encoder"
            raise ValueError(f"{joined}; give both, or leave --fusion out")
        if len(pairs) > 1 and not self.head:
            raise ValueError("two encoders are tuned with a fusion head; add one, as --fusion concat")

    @property
    def names(self) -> dict[Modality, str]:
        """The encoder of each modality."""
        return dict(self.encoders.pairs())

    @property
    def every_fold(self) -> bool:
        """Whether there is one tuned encoder for each of several folds."""
        return self.folds is not None and self.fold is None

    def options(self, modality: Modality) -> EncoderOptions:
        """The options that an encoder is opened with. Raises ValueError for a weights file of none or of both."""
        file = self.encoders.files().get((modality, self.names[modality]))
        return replace(self.encoders.options, weights=file)

    def folder(self, out: Path, modality: Modality, fold: int) -> Path:
        """Where the encoder of a modality and a fold is written: `out` itself, or a folder inside, named after it."""
        parts = [modality] * (len(self.names) > 1) + [f"fold{fold}"] * self.every_fold
        return out / "-".join([out.name, *parts]) if parts else out

    def to_dict(self) -> dict[str, Any]:
        """All that decides the tuned weights beside posts and encoders, for JSON."""
        texts = {"clean": self.encoders.options.clean, "max_length": self.encoders.options.max_length}
        head = asdict(self.head) | {"options": dict(self.head.options)} if self.head else None
        return asdict(self.config) | texts | {"encoders": self.names, "head": head}
