"""`msa encoders`, `msa heads` and `msa recipes`: tables of what can be given by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...features.text_table import table
from .recipes import Recipe, read_recipes

ENCODERS_NOTE = (
    "Also: any timm:NAME model with a feature map, any Hugging Face id or local folder of an image or "
    "text model, gensim:PATH of word vectors."
)
RECIPES_NOTE = (
    "`msa extract --recipe NAME` caches a recipe's encoders, `msa train-head --recipe NAME` trains it; "
    "flags win, so --image and --text run it on others."
)


@dataclass(frozen=True)
class Listing:
    """Entries by name: an object each for JSON, a line each for the table."""

    name: str
    entries: Sequence[dict[str, Any]]
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {self.name: list(self.entries)}

    def to_text(self) -> str:
        """The table, then the note."""
        return f"{table(self.header, self.lines)}\n\n{self.note}".rstrip()


def list_encoders() -> Listing:
    """The encoders in the order of the registry, and whether their weights are on this machine."""
    from ...features.encoders import zoo

    entries = zoo.list_encoders()
    lines = [[e.name, e.modality, str(e.width), e.weights, "yes" if e.here else "no"] for e in entries]
    header = ["encoder", "modality", "width", "weights from", "here"]
    return Listing("encoders", [asdict(entry) for entry in entries], header, lines, ENCODERS_NOTE)


def list_heads() -> Listing:
    """The fusion heads in the order of the registry."""
    from ...heads.registry import HEADS

    keys = ("inputs", "summary", "options", "paper")
    entries = [{"head": name} | {key: getattr(info, key) for key in keys} for name, info in HEADS.items()]
    shown = [entry | {"options": " ".join(f"{k}={v}" for k, v in entry["options"].items())} for entry in entries]
    header = ["head", "inputs", "what it does", "its --option NAME=VALUE", "paper"]
    return Listing("heads", entries, header, [[str(value) for value in entry.values()] for entry in shown])


def list_recipes() -> Listing:
    """The recipes in the order of their names."""
    recipes = read_recipes()
    lines = [[r.name, r.report, r.reported, _encoders(r), r.system] for r in recipes]
    header = ["recipe", "source", "reported", "encoders", "system"]
    return Listing("recipes", [vars(recipe) for recipe in recipes], header, lines, RECIPES_NOTE)


def _encoders(recipe: Recipe) -> str:
    sides = (recipe.options.get(modality, "") for modality in ("image", "text"))
    return " + ".join(" ".join(side) if isinstance(side, list) else str(side) for side in sides)
