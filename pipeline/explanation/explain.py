"""What the prediction of a post rested on: attention over patches and words, weights and opinions of the modalities.

Attention says what a head read, not what would have changed its answer (Jain & Wallace, 2019); and each token has taken
in its surroundings in the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...features.words.word_pieces import Splitter
from ..data.cached_features import CachedFeatures
from ..inspection.opinions import modality_opinions
from ..inspection.stored_opinions import Present
from ..metrics.probabilities import mean_probabilities
from ..runs.run_predictions import run_logits
from ..runs.runs import Run
from .attention import post_attention
from .explanation import Array, Explanation
from .originals import Original
from .recorded import Recorded, mean_layers, record_run
from .remarks import NO_WEIGHTS, Remark


def explain(
    run: Run,
    table: CachedFeatures,
    originals: Sequence[Original],
    *,
    splitters: Mapping[str, Splitter] = {},
    folds: Sequence[tuple[int, ...]] = (),
    device: str = "cpu",
) -> list[Explanation]:
    """Explain the prediction of each of the N posts of a table, as `load_run_features` makes it.

    `originals` (N) are the texts and sizes of pictures, `splitters` the words of text encoders by slug, `folds` (N) the
    folds whose heads explain a post: those that never saw it, or () for the mean over all folds, as for a new post.
    """
    every = tuple(range(len(run.folds)))
    chosen = [own or every for own in folds] or [every] * len(originals)
    results = {
        number: _explain_fold(run, number, table, device) for number in sorted({n for own in chosen for n in own})
    }
    found = []
    for row, (numbers, original) in enumerate(zip(chosen, originals, strict=True)):
        own = [results[number] for number in numbers]
        layers = mean_layers([[layer.of_row(row) for layer in one.recorded.layers] for one in own])
        shares = {side: [one.recorded.shares[side][row] for one in own] for side in own[0].recorded.shares}
        attention = post_attention(table, row, layers, original, patches=run.config.patches, splitters=splitters)
        none = () if layers or shares else (Remark(NO_WEIGHTS, {"fusion": run.config.label}),)
        found.append(
            Explanation(
                id=table.posts.ids[row],
                classes=run.classes,
                label=run.classes[int(np.mean([one.uncalibrated[row] for one in own], axis=0).argmax())],
                truth=table.posts.labels[row],
                probabilities=np.mean([one.probabilities[row] for one in own], axis=0),
                folds=numbers,
                held_out=bool(folds and folds[row]),
                modality_weights={side: float(np.mean(share)) for side, share in shares.items()},
                opinions={
                    shown: np.mean([one.opinions[shown][row] for one in own], axis=0) for shown in own[0].opinions
                },
                **attention._replace(notes=(*attention.notes, *none))._asdict(),
            )
        )
    return found


class _FoldResult(NamedTuple):
    """What the heads of one fold give for all N posts: probabilities (N, K), opinions, and what was recorded."""

    uncalibrated: Array
    probabilities: Array
    opinions: dict[Present, Array]
    recorded: Recorded


def _explain_fold(run: Run, number: int, table: CachedFeatures, device: str) -> _FoldResult:
    part = with_folds(run, [number])
    logits = run_logits(part, table, device)
    probabilities = mean_probabilities(logits), mean_probabilities(logits, part.temperatures)
    return _FoldResult(*probabilities, modality_opinions(part, table, device), record_run(part, table, device))


def with_folds(run: Run, numbers: Sequence[int]) -> Run:
    """The same run with the heads of these folds alone."""
    size = run.config.ensemble_size
    return replace(
        run,
        heads=[head for number in numbers for head in run.heads[number * size : (number + 1) * size]],
        reductions=[run.reductions[number] for number in numbers],
        temperatures=tuple(run.temperatures[number] for number in numbers) if run.temperatures else (),
    )
