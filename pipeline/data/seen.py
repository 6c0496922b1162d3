"""Which posts a tuned encoder has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.encoders.tuned import TunedRecord, record_of
from ...features.posts.content import Contents, split_keys
from ...features.spec import EncoderSpec


@dataclass(frozen=True)
class Seen:
    """Which of N posts an encoder was fitted on, `trained` (N,), and on which its epoch was chosen, `selected` (N,).

    A post counts if it shares its image, text or group with a row of the tuning, directly or through others.
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
            pairs = list(zip(contents.joined("image"), contents.text_keys, strict=True))
            both = map(set, (record.trained, record.selected))
            here = [[text in keys or not keys.isdisjoint(split_keys(image)) for image, text in pairs] for keys in both]
            found.append(Seen(spec, record, *(np.isin(groups, groups[np.array(rows, bool)]) for rows in here)))
    return tuple(found)
