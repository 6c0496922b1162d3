"""Refuses to train a fusion of two modalities on posts most of which lack one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...features.messages import notify
from ...features.spec import MODALITIES
from .cached_features import CachedFeatures


def refuse_missing(table: CachedFeatures, fusions: Sequence[str], *, most: float) -> None:
    """Raise ValueError where more than the share `most` of the labelled posts lack a modality that a head reads.

    Also lacking is an image or a text that could not be embedded. What is allowed beyond half of the posts is noted.
    """
    labelled = np.array([label is not None for label in table.posts.labels])
    read = [name for name in MODALITIES if set(fusions) == {name}] or MODALITIES  # named after the one they read
    for modality, side in table.sides.items():
        lacking, posts = int((~side.present & labelled).sum()), int(labelled.sum())
        if modality not in read or lacking <= posts * most:
            if modality in read and lacking > posts / 2:
                notify(
                    f"{lacking} of {posts} labelled posts have no {modality}: the head rests on what the others have"
                )
            continue
        others = [other for other in table.sides if other != modality]
        without = f"leave the {modality}s out with --{modality} none, or " if others else ""
        raise ValueError(
            f"{lacking} of {posts} labelled posts have no {modality}, or none that could be embedded, more than "
            f"--max-missing {most:g} allows; `msa check` shows why; {without}train all the same with --max-missing 1"
        )
