"""What the prediction of a post rested on: attention over patches and words, weights and opinions of the modalities.

Attention says what a head read, not what would have changed its answer (Jain & Wallace, 2019); and each token has taken
in its surroundings in the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...features.encoders.word_pieces import Splitter
from ..data.cached_features import CachedFeatures
from ..inspection.opinions import modality_opinions
from ..metrics.probabilities import mean_probabilities
from ..runs.run_predictions import run_logits
from ..runs.runs import Run
from .attention import post_attention
from .explanation import Explanation
from .originals import Original
from .recorded import record_run
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
    chosen = list(folds) or [()] * len(originals)
    found: dict[int, Explanation] = {}
    for numbers in dict.fromkeys(chosen):
        part = with_folds(run, numbers) if numbers else run
        logits = run_logits(part, table, device)
        best, probabilities = mean_probabilities(logits).argmax(1), mean_probabilities(logits, part.temperatures)
        opinions, recorded = modality_opinions(part, table, device), record_run(part, table, device)
        for row in (row for row, own in enumerate(chosen) if own == numbers):
            attention = post_attention(
                table, row, recorded.layers, originals[row], patches=run.config.patches, splitters=splitters
            )
            none = () if recorded.layers or recorded.shares else (Remark(NO_WEIGHTS, {"fusion": run.config.fusion}),)
            found[row] = Explanation(
                id=table.posts.ids[row],
                classes=run.classes,
                label=run.classes[int(best[row])],
                truth=table.posts.labels[row],
                probabilities=probabilities[row],
                folds=numbers or tuple(range(len(run.folds))),
                held_out=bool(numbers),
                modality_weights={side: float(share[row]) for side, share in recorded.shares.items()},
                opinions={shown: p[row] for shown, p in opinions.items()},
                **attention._replace(notes=(*attention.notes, *none))._asdict(),
            )
    return [found[row] for row in range(len(originals))]


def with_folds(run: Run, numbers: Sequence[int]) -> Run:
    """The same run with the heads of these folds alone."""
    size = run.config.ensemble_size
    return replace(
        run,
        heads=[head for number in numbers for head in run.heads[number * size : (number + 1) * size]],
        reductions=[run.reductions[number] for number in numbers],
        temperatures=tuple(run.temperatures[number] for number in numbers) if run.temperatures else (),
    )
