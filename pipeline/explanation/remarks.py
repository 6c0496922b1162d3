"""The sentences that go with an explanation: what is left out and why, and what attention cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LIMITS = (
    "Attention says what a head read, not what would have changed its answer (Jain & Wallace, 2019), "
    "and an encoder has already mixed each token with its surroundings."
)
NO_WEIGHTS = "{fusion} has neither attention nor weights of the modalities"
NO_GRID = "{encoder}: its tokens form no grid"
FIRST_IMAGE = "{encoder}: of {images} images the patches of the first are shown"
NO_BOX = "{encoder}: where its patches lie in the picture is not known"
NO_WORDS = "{encoder}: tokens are numbered, as its words are not known"
OTHER_WORDS = "{encoder}: tokens are numbered, as the text gives {here} tokens here and the features have {stored}"
HELD_OUT = "the heads of fold {numbers}, which never saw the post"
RIGHT, WRONG = "most confident right", "most confident wrong"
ALL_FOLDS = "the mean over the folds ({count})"
TRAINED = "the mean over the folds ({count}), which learned from the post"


class Remark(NamedTuple):
    """A sentence, and the values that its braces name, so that it can be translated."""

    template: str
    values: Mapping[str, object]

    def __str__(self) -> str:
        return self.template.format(**self.values)
