"""Which cached features, on which folds, on which device: what every command that trains heads is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...features.setting import check, setting
from .memory import read_size
from .values import GroupBy

CACHE = "Folder of cached embeddings."
SPLIT = ("group_by", "near_duplicates", "min_per_class", "drop_label", "class_order", "hold_out", "max_missing")
MEMORY = "Memory for features, as 4GB; they are read in blocks where they need more. Half of what is free if empty."
DEVICE = "Where to compute: auto, cpu, cuda, cuda:N or mps."


@dataclass(frozen=True)
class CachedEncoders:
    """Encoders by name, and the folder that keeps their embeddings."""

    cache: Path = setting(Path("cache"), CACHE)
    image: tuple[str, ...] = setting(("efficientnet_lite0",), "Image encoder, or none; repeatable.")
    text: tuple[str, ...] = setting(("minilm",), "Text encoder, or none; repeatable.")


@dataclass(frozen=True)
class DataConfig(CachedEncoders):
    """The cache, the encoders, the folds and the device. Raises ValueError naming a field that is out of range."""

    folds: int | None = setting(None, "Cross-validation folds.", minimum=0, zero="one stored 80/20 split")
    device: str = setting("auto", DEVICE)
    memory: str = setting("", MEMORY)
    repeats: int = setting(1, "Times that the folds are repeated with another seed.", minimum=1, maximum=1000)
    group_by: GroupBy = setting(
        "both", "Equal content that keeps posts in one part of a split, of the modalities in use."
    )
    min_per_class: int = setting(0, "Leave out classes with fewer posts.", minimum=0)
    drop_label: tuple[str, ...] = setting((), "Leave out the posts of this label; repeatable.")
    class_order: str = setting("", "Ordinal labels, lowest first, as low,middle,high.")
    hold_out: float = setting(0.0, "Share of posts set aside, once, for `msa test`.", minimum=0, maximum=0.5)
    near_duplicates: bool = setting(False, "Keep near copies of images and of texts on one side of each split.")
    max_missing: float = setting(
        0.5,
        "Largest share of labelled posts that may lack an image, or a text, which the head reads.",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.memory:
            read_size(self.memory)

    @property
    def order(self) -> tuple[str, ...]:
        """The classes from the lowest to the highest; none where they have no order."""
        return tuple(label.strip() for label in self.class_order.split(",")) if self.class_order else ()

    @property
    def split(self) -> dict[str, Any]:
        """What decides the split beside the number of folds, and whether it is trained on, for JSON."""
        return {name: getattr(self, name) for name in SPLIT}


def read_split(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields from JSON; those that are not there keep their defaults."""
    found = {name: stored[name] for name in SPLIT if name in stored}
    return found | {"drop_label": tuple(found.get("drop_label", ()))}
