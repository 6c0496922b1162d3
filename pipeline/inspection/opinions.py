"""What a run's own heads predict from one modality: with the other absent, as in a post that lacks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.csv_text import to_csv
from ...features.encoders.runtime import pick_device
from ...features.progress import stage
from ...features.spec import MODALITIES, Modality
from ...features.store.durable import write_atomic
from ...heads.base import Head
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import mask_modality
from ..data.ragged_inputs import RaggedInputs
from ..metrics.probabilities import log_mean, mean_probabilities
from ..runs.runs import Run, rounded
from ..sweeps.ensemble import Ensemble
from ..training.batches import Rows
from ..training.folds import FoldResult
from ..training.loop import training_threads
from ..training.predictions import prediction_views, view_logits
from .stored_opinions import FILE, STORED, Present, Probabilities

Logits = NDArray[np.float32]


def modalities_read(config: HeadConfig, specs: Mapping[Modality, Sequence[object]]) -> Present:
    """The modalities that a head of this config reads, where it has encoders `specs` of them."""
    reads = {modality for info in config.infos for modality in info.build.reads}  # type: ignore[attr-defined]
    return tuple(modality for modality in MODALITIES if modality in reads and specs[modality])


def modality_opinions(run: Run, table: CachedFeatures, device: str = "cpu") -> dict[Present, Probabilities]:
    """Probabilities (N, K) of the N posts of a table by the modalities that the run's heads are shown.

    The keys are all subsets of the modalities that the heads read: `("image", "text")` is the run's prediction itself,
    `("text",)` that without the image, `()` that without input. Averaged over folds, ensembles and views, and
    calibrated by the temperatures of the folds, as `msa predict` does. A post that lacks a modality has the same
    probabilities with it and without.
    """
    present, place = subsets(modalities_read(run.config, run.specs)), pick_device(device)
    found: dict[Present, list[Logits]] = {one: [] for one in present}
    with training_threads(1):
        for heads, reductions in run.folds:
            views = prediction_views(table, run.config, reductions, place)
            heads = [head.to(place) for head in heads]
            for one in present:
                found[one].append(logits_from(one, heads, views, range(len(table.posts.ids))))
    return {one: mean_probabilities(logits, run.temperatures) for one, logits in found.items()}


def subsets(modalities: Present) -> list[Present]:
    """All subsets, the largest first."""
    return [one for size in range(len(modalities), -1, -1) for one in combinations(modalities, size)]


def logits_from(present: Present, heads: Sequence[Head], views: Sequence[RaggedInputs], rows: Rows) -> Logits:
    """Logits (n, K) of rows (n,), the mean over heads and views, as if every post lacked the other modalities."""
    shown = list(views)
    for modality in MODALITIES:
        if modality not in present:
            shown = [mask_modality(one, modality) for one in shown]
    return log_mean(view_logits(heads, shown, rows))


def write_opinions(
    folder: Path,
    table: CachedFeatures,
    config: HeadConfig,
    results: Sequence[FoldResult],
    temperatures: Sequence[float],
    device: str = "cpu",
) -> None:
    """Write FILE to a run: one line per test row of each fold, as in predictions.csv; nothing for a single modality.

    Its columns are id, repeat, fold, then a calibrated probability per class from the image alone, the text alone and
    neither, by heads that never saw the row. Those of a modality that the post lacks are empty.
    """
    if len(modalities_read(config, table.specs)) < len(MODALITIES):
        return
    stage("predicting from single modalities")
    lines: list[list[object]] = []
    with training_threads(1):
        for number, (result, temperature) in enumerate(zip(results, temperatures, strict=True)):
            views, rows = prediction_views(table, config, result.reductions, device), result.fold.test
            cells = []
            for present in STORED:
                found = mean_probabilities([logits_from(present, result.heads, views, rows)], [temperature])
                known = np.all([np.ones(len(rows)), *(table.sides[one].present[rows] for one in present)], 0)
                empty: list[object] = [""] * found.shape[1]
                cells.append([[*rounded(one)] if there else empty for one, there in zip(found, known, strict=True)])
            for row, *parts in zip(rows, *cells, strict=True):
                lines.append([table.posts.ids[row], result.fold.repeat, number, *chain.from_iterable(parts)])
    header = ["id", "repeat", "fold", *(f"{name}: {label}" for name in STORED.values() for label in table.classes)]
    write_atomic(folder / FILE, to_csv(header, lines).encode())


def write_ensemble_opinions(ensemble: Ensemble) -> None:
    """Write FILE to the run of a sweep's greedy ensemble."""
    trained, temperatures = ensemble.trained, ensemble.evaluation.calibration.temperatures
    device = str(trained.results[0].heads[0].offsets.device)
    write_opinions(ensemble.path, trained.table, trained.config, trained.results, temperatures, device)
