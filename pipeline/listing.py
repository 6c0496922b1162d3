"""`msa encoders`: the well-known encoders, and which of them can be used here and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..features.zoo import EncoderInfo, list_encoders
from .tables import table

OTHERS = (
    "Also: any timm:NAME model with a feature map, any Hugging Face id or local folder of an image or "
    "text model, gensim:PATH of word vectors."
)


@dataclass(frozen=True)
class EncoderList:
    """The listing, in the order of the registry."""

    entries: Sequence[EncoderInfo]

    @classmethod
    def here(cls) -> EncoderList:
        """List them, looking at this machine alone."""
        return cls(list_encoders())

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"encoders": [asdict(entry) for entry in self.entries]}

    def to_text(self) -> str:
        """One line per encoder and modality."""
        lines = [[e.name, e.modality, str(e.width), e.weights, "yes" if e.here else "no"] for e in self.entries]
        return f"{table(['encoder', 'modality', 'width', 'weights from', 'here'], lines)}\n\n{OTHERS}"
