"""What tuned encoders have seen, and the refusal to judge anything on it."""

from __future__ import annotations

from collections.abc import Sequence

from ...features.encoders.tuned import TunedRecord
from .cached_features import CachedFeatures, ModalityTable
from .seen import Seen
from .split import Fold


def refuse_leaks(table: CachedFeatures, folds: Sequence[Fold]) -> None:
    """Raise ValueError where an encoder has seen rows that the folds judge by.

    Scored rows may be neither fitted on nor selected on. Validation rows may not be fitted on; that they chose the
    encoder's epoch is no more than they do for the head, so a split's own validation rows may stop both. Hence an
    encoder that was tuned on a fold may be judged on that fold, and on no other one of the same split.
    """
    for seen in _all_seen(table.image, table.text):
        for number, fold in enumerate(folds):
            scored = int((seen.trained | seen.selected)[fold.test].sum())
            stopped = int(seen.trained[fold.valid].sum())
            if scored or stopped:
                raise ValueError(
                    f"encoder {seen.spec.name!r} was tuned on {seen.record.where} and has seen {scored} of the "
                    f"{len(fold.test)} test rows and {stopped} of the {len(fold.valid)} validation rows of fold "
                    f"{number} here, so its score would mean nothing; {_remedy(seen.record, len(folds))}"
                )


def refuse_seen(*sides: ModalityTable | None) -> None:
    """Raise ValueError where rows that are to be predicted and judged are rows that an encoder has seen."""
    for seen in _all_seen(*sides):
        known = int((seen.trained | seen.selected).sum())
        if known:
            raise ValueError(
                f"encoder {seen.spec.name!r} was tuned on {seen.record.where} and has seen {known} of these "
                f"{len(seen.trained)} rows, so their score would mean nothing; {_remedy(seen.record, 1)}"
            )


def _all_seen(*sides: ModalityTable | None) -> list[Seen]:
    return [seen for side in sides if side is not None for one in (side, *side.views) for seen in one.seen]


def _remedy(record: TunedRecord, folds: int) -> str:
    if record.folds is None and folds == 1:
        return f"judge it on the posts and the split that it was tuned on (--folds 0 --seed {record.seed})"
    if record.folds is None:
        return f"use --folds 0 --seed {record.seed}, or an encoder that was not tuned"
    return "tune it on --folds 0 and judge it on --folds 0, or take an encoder that was not tuned"
