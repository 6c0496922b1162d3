"""The explanation of one prediction as a page that needs no other file, and its figures as files."""

from __future__ import annotations

from pathlib import Path

from ...features.posts.samples import Sample
from ...features.store.durable import make_folder, write_atomic
from ..explanation.explanation import Explanation, TextAttention
from ..explanation.remarks import LIMITS
from ..explanation.summary import basis
from ..runs.destination import check_writable
from .attention import post_charts
from .attention_section import read_pixels
from .html import render
from .words import Language, Words

FILE = "explanation.html"


def check_out(out: Path) -> None:
    """Raise ValueError where the page cannot be written."""
    check_writable(out.parent if out.suffix == ".html" else out, "--out")


def write_explanation(
    found: Explanation, sample: Sample, out: Path, *, run: str, trained: bool = False, language: Language = "auto"
) -> list[Path]:
    """Write the page to `out`, a file that ends in `.html`; else to a folder, with its figures as PNG, SVG, PDF, CSV.

    `run` is the run's name, `trained` as in `summary`. A picture that cannot be read is left out of the overlay.
    """
    words = Words(language)
    charts = post_charts(found, read_pixels(sample), words)
    page = out if out.suffix == ".html" else out / FILE
    make_folder(page.parent)
    html = render(
        FILE,
        words,
        title=words("Post {id}").format(id=found.id),
        headline=_headline(found, words),
        facts=_facts(found, run, words, trained=trained),
        notes=[words(note.template).format(**note.values) for note in found.notes],
        texts=[{"encoder": one.encoder, "marked": _marked(one)} for one in found.texts],
        charts=charts,
        layered=bool(found.layers),
        limits=LIMITS,
    )
    write_atomic(page, html.encode("utf-8", "backslashreplace"))
    return [page] if out.suffix == ".html" else [page, *(path for chart in charts for path in chart.write(out))]


def _headline(found: Explanation, words: Words) -> list[tuple[str, str, str]]:
    """Prediction, true class, and the opinion of each modality: name, value, explanation."""
    best = float(found.probabilities.max())
    lines = [(words("prediction"), found.label, words("probability {p}").format(p=f"{best:.3f}"))]
    if found.truth is not None:
        right = words("predicted right") if found.truth == found.label else words("predicted wrong")
        lines.append((words("label"), found.truth, right))
    if len(found.alone) > 1:
        for side, p in found.alone.items():
            name = words("{modality} alone").format(modality=words(side))
            lines.append(
                (name, found.classes[int(p.argmax())], words("probability {p}").format(p=f"{float(p.max()):.3f}"))
            )
    return lines


def _facts(found: Explanation, run: str, words: Words, *, trained: bool) -> list[tuple[str, str]]:
    facts = [(words("run"), run), (words("predicted by"), basis(found, trained=trained, words=words))]
    facts += [
        (words("weight of {side}").format(side=words(side)), f"{share:.3f}")
        for side, share in found.modality_weights.items()
    ]
    return facts


def _marked(one: TextAttention) -> list[tuple[str, str, str]]:
    """Each word, its opacity relative to that of the strongest, and its share."""
    highest = max(float(one.weights.max()), 1e-12)
    return [
        (word, f"{0.75 * float(weight) / highest:.3f}", f"{weight:.1%}")
        for word, weight in zip(one.words, one.weights, strict=True)
    ]
