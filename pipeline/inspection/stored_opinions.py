"""The stored predictions of a run's heads from one modality, read without the heads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.csv_text import read_cell
from ...features.spec import Modality
from ...features.store.json_files import malformed

Present = tuple[Modality, ...]  # the modalities that a head is shown, in the order of MODALITIES
Probabilities = NDArray[np.float64]

FILE = "opinions.csv"
STORED: dict[Present, str] = {("image",): "image", ("text",): "text", (): "neither"}  # all is in predictions.csv
KEYS = 3  # columns before those of the probabilities: id, repeat, fold


def read_opinions(folder: Path, classes: int) -> dict[tuple[str, str], Probabilities]:
    """Probabilities (3, K) from the image, the text and neither by id and repeat; NaN where the post lacks it.

    Empty where the run stores none. Raises ValueError for a damaged file.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    with (
        malformed(file, "the predictions from single modalities", "train again"),
        file.open(encoding="utf-8-sig", newline="") as opened,
    ):
        _, *lines = csv.reader(opened)
        numbers = np.array([[cell or "nan" for cell in line[KEYS:]] for line in lines], np.float64)
        names = [(read_cell(line[0]), line[1]) for line in lines]
        return dict(zip(names, numbers.reshape(len(lines), len(STORED), classes), strict=True))
