"""`msa encoders` and `msa heads`: what there is by name, and what of it can be used here and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...features.encoders.zoo import EncoderInfo, list_encoders
from ...features.text_table import table
from ...heads.registry import HEADS

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


@dataclass(frozen=True)
class HeadList:
    """The fusion heads, in the order of the registry."""

    entries: Sequence[dict[str, Any]]

    @classmethod
    def all(cls) -> HeadList:
        """List them all."""
        return cls(
            [
                {
                    "head": name,
                    "inputs": info.inputs,
                    "summary": info.summary,
                    "options": info.options,
                    "paper": info.paper,
                }
                for name, info in HEADS.items()
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"heads": list(self.entries)}

    def to_text(self) -> str:
        """One line per head."""
        lines = [
            [e["head"], e["inputs"], e["summary"], " ".join(f"{k}={v}" for k, v in e["options"].items()), e["paper"]]
            for e in self.entries
        ]
        return table(["head", "inputs", "what it does", "its --option NAME=VALUE", "paper"], lines)
