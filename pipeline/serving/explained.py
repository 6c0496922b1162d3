"""Answers: a prediction, and one with what it rests on: each modality alone, attention, the nearest training posts."""

from __future__ import annotations

from typing import Any

from ..explanation.explain import explain, with_folds
from ..explanation.explanation import Explanation
from ..explanation.originals import Original, Seen
from ..predict import Predictions, predict_table
from ..runs.runs import rounded
from .known_posts import KnownPosts
from .warm_model import PreparedPost, WarmModel


def to_answer(found: Predictions, post: PreparedPost) -> dict[str, Any]:
    """One prediction as JSON; `unused` names what was given and the run does not read, if anything."""
    answer: dict[str, Any] = {
        "label": found.labels[0],
        "probabilities": dict(zip(found.classes, rounded(found.probabilities[0]), strict=True)),
        "calibrated": bool(found.temperatures),
    }
    return answer | ({"unused": list(post.unused)} if post.unused else {})


def explain_post(
    model: WarmModel, known: KnownPosts | None, post: PreparedPost, row: int | None = None
) -> dict[str, Any]:
    """The prediction of one post, and what is shown beside it. Raises ValueError where there is none.

    A known post, given by its row too, is predicted by the heads that never saw it, if there are any.
    """
    seen = known.seen[row] if known and row is not None else Seen((), False)
    table, refused = model.features([post])
    if refused:
        raise ValueError(refused[0])
    run = with_folds(model.run, seen.tested) if seen.tested else model.run
    with model.heads:
        found = predict_table(run, table, model.settings.device, False)
        (explanation,) = explain(
            run,
            table,
            [Original(post.text, post.size)],
            splitters=model.splitters,
            device=model.settings.device,
        )
    present = [modality for modality, side in table.sides.items() if side.present[0]]
    return to_answer(found, post) | {
        "held_out": bool(seen.tested),
        "trained": seen.trained and not seen.tested,
        "opinions": _opinions(explanation) if len(present) > 1 else [],
        "attention": _attention(explanation),
        "nearest": known.nearest(table, without=row) if known else [],
    }


def _opinions(found: Explanation) -> list[dict[str, Any]]:
    """What each modality alone predicts; none for heads that read one."""
    if len(found.alone) < 2:
        return []
    return [
        {
            "modality": modality,
            "label": found.classes[int(p.argmax())],
            "probabilities": dict(zip(found.classes, rounded(p), strict=True)),
        }
        for modality, p in found.alone.items()
    ]


def _attention(found: Explanation) -> dict[str, Any] | None:
    """Attention on patches and words, by layer and head, and weights of the modalities; None for heads without."""
    stored = found.to_dict()
    kept = {name: stored[name] for name in ("images", "texts", "layers", "modality_weights", "notes")}
    return kept if any(kept[name] for name in ("images", "texts", "modality_weights")) else None
