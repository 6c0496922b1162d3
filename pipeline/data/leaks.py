"""Refusal of splits whose test or validation rows a tuned encoder was fitted on."""

from __future__ import annotations

from collections.abc import Sequence

from ...features.encoders.tuned import TunedRecord
from .cached_features import CachedFeatures, ModalityTable
from .seen import Seen
from .split import Fold


def refuse_leaks(table: CachedFeatures | Sequence[CachedFeatures], folds: Sequence[Fold]) -> None:
    """Raise ValueError where an encoder was tuned on test or validation rows of the folds that read it.

    All folds read one table, or each its own.

    On test rows an encoder may be neither fitted nor selected. On validation rows it may not be fitted; it may be
    selected on them, as the head is. Hence an encoder that was tuned on a fold may be tested on that fold, and on no
    other one of the same split.
    """
    tables = [table] * len(folds) if isinstance(table, CachedFeatures) else table
    for number, (own, fold) in enumerate(zip(tables, folds, strict=True)):
        for seen in _all_seen(*own.sides.values()):
            test = int((seen.trained | seen.selected)[fold.test].sum())
            valid = int(seen.trained[fold.valid].sum())
            if test or valid:
                raise ValueError(
                    f"encoder {seen.spec.name!r} was tuned on {seen.record.where} and has seen {test} of the "
                    f"{len(fold.test)} test rows and {valid} of the {len(fold.valid)} validation rows of fold "
                    f"{number} here, so its score would mean nothing; {_remedy(seen.record, len(folds))}"
                )


def refuse_seen(*sides: ModalityTable | None) -> None:
    """Raise ValueError where an encoder was tuned on rows that are predicted, since their score would mean nothing."""
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
        return (
            f"test it on the posts and the split that it was tuned on (--folds 0 --seed {record.seed}); for a head on "
            f"{record.modality} alone, tune it with --group-by {record.modality}"
        )
    if record.folds is None:
        return f"use --folds 0 --seed {record.seed}, or an encoder that was not tuned"
    return "tune it on --folds 0 and test it on --folds 0, or take an encoder that was not tuned"
