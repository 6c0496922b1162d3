"""`msa encoders`, `msa heads` and `msa recipes`: tables of what can be given by name."""

from __future__ import annotations

from dataclasses import asdict

from ...features.text_table import TableReport
from .recipes import Recipe, read_recipes

ENCODERS_NOTE = (
    "Also: any timm:NAME model with a feature map, any Hugging Face id or local folder of an image or "
    "text model, st:NAME of a Sentence Transformers model, gensim:PATH of word vectors, "
    "any text encoder as NAME@ocr for the text inside images, st:NAME@joint for image and text together."
)
RECIPES_NOTE = (
    "`msa extract --recipe NAME` caches a recipe's encoders, `msa train-head --recipe NAME` trains it; "
    "flags win, so --image and --text run it on others."
)


def list_encoders() -> TableReport:
    """The encoders in the order of the registry, and whether their weights are on this machine."""
    from ...features.encoders import zoo

    entries = zoo.list_encoders()
    lines = [[e.name, e.modality, e.width, e.weights, "yes" if e.here else "no"] for e in entries]
    header = ["encoder", "modality", "width", "weights from", "here"]
    return TableReport([asdict(entry) for entry in entries], header, lines, [ENCODERS_NOTE])


def list_heads() -> TableReport:
    """All heads with their inputs, options and papers."""
    from ...heads.registry import ENTRIES

    keys = ("inputs", "summary", "options", "paper")
    entries = [{"head": name} | {key: getattr(info, key) for key in keys} for name, info in ENTRIES.items()]
    shown = [entry | {"options": " ".join(f"{k}={v}" for k, v in entry["options"].items())} for entry in entries]
    header = ["head", "inputs", "what it does", "its --option NAME=VALUE", "paper"]
    return TableReport(entries, header, [list(entry.values()) for entry in shown], name="heads")


def list_recipes() -> TableReport:
    """All recipes with the published systems that they follow."""
    recipes = read_recipes()
    lines = [[r.name, r.report, r.reported, _encoders(r), r.system] for r in recipes]
    header = ["recipe", "source", "reported", "encoders", "system"]
    return TableReport([vars(recipe) for recipe in recipes], header, lines, [RECIPES_NOTE], name="recipes")


def _encoders(recipe: Recipe) -> str:
    sides = (recipe.options.get(modality, "") for modality in ("image", "text"))
    return " + ".join(" ".join(side) if isinstance(side, list) else str(side) for side in sides)
