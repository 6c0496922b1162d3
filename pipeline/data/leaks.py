"""What tuned encoders have seen, and the refusal to judge anything on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...features.encoders.tuned import TunedRecord, record_of
from ...features.posts.content import Contents
from ...features.spec import EncoderSpec
from .split import Fold

if TYPE_CHECKING:
    from .cached_features import FeatureTable, ModalityTable


@dataclass(frozen=True)
class Seen:
    """Which of N posts an encoder was fitted on, `trained` (N,), and which chose its epoch, `selected` (N,).

    A post counts that shares its image, its text or its group with a row of the tuning, directly or through others.
    """

    spec: EncoderSpec
    record: TunedRecord
    trained: NDArray[np.bool_]
    selected: NDArray[np.bool_]

    def __getitem__(self, rows: NDArray[np.int64]) -> Seen:
        """The same for some of the posts."""
        return replace(self, trained=self.trained[rows], selected=self.selected[rows])


def find_seen(
    specs: Sequence[EncoderSpec], cache: Path, contents: Contents, groups: NDArray[np.int64]
) -> tuple[Seen, ...]:
    """One entry for each of the encoders that was tuned. Raises ValueError where its record is gone."""
    found = []
    for spec in specs:
        record = record_of(spec, cache)
        if record is not None:
            masks = (_with_groups(contents, groups, set(keys)) for keys in (record.trained, record.selected))
            found.append(Seen(spec, record, *masks))
    return tuple(found)


def _with_groups(contents: Contents, groups: NDArray[np.int64], keys: set[str]) -> NDArray[np.bool_]:
    pairs = zip(contents.image_keys, contents.text_keys, strict=True)
    here = np.array([image in keys or text in keys for image, text in pairs], bool)
    return np.isin(groups, groups[here])


def refuse_leaks(table: FeatureTable, folds: Sequence[Fold]) -> None:
    """Raise ValueError where an encoder has seen rows that the folds judge by.

    Scored rows may be neither fitted on nor selected on. Stop rows may not be fitted on; that they chose the encoder's
    epoch is no more than they do for the head, so a split's own stop rows may stop both. Hence an encoder that was
    tuned on a fold may be judged on that fold, and on no other one of the same split.
    """
    for seen in _all_seen(table.image, table.text):
        for number, fold in enumerate(folds):
            scored = int((seen.trained | seen.selected)[fold.score].sum())
            stopped = int(seen.trained[fold.stop].sum())
            if scored or stopped:
                raise ValueError(
                    f"encoder {seen.spec.name!r} was tuned on {seen.record.where} and has seen {scored} of the "
                    f"{len(fold.score)} scored and {stopped} of the {len(fold.stop)} stop rows of fold {number} here, "
                    f"so its score would mean nothing; {_remedy(seen.record, len(folds))}"
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
