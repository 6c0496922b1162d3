"""`msa evaluate`: a stored run scored again on the very rows that each of its folds was scored on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...features.encoders.runtime import pick_device
from ...features.posts.samples import Corpus
from ...features.spec import Modality
from ...features.store.durable import write_atomic
from ...heads.base import Inputs
from ..data.cached_features import CachedFeatures, load_features
from ..data.inputs import build_inputs, build_views
from ..data.leaks import refuse_leaks
from ..data.split import VALID_PARTS, Fold, ensemble_folds, read_folds
from ..data.test_lock import lock
from ..metrics.scores import score, summarise
from ..metrics.tables import class_table, metric_table, scored_text
from ..runs.runs import Run, find_run, load_run
from ..training.experiment import log_mean
from ..training.loop import predict_logits, training_threads
from .comparison import Evaluation, evaluate_folds
from .curves import Curve, FoldLogits, missing_curve

ALIKE = 0.999  # of the stored predictions: another device may round a close call the other way
Missing = Literal["none", "image", "text", "both"]
HIDDEN: dict[Missing, tuple[Modality, ...]] = {
    "none": (),
    "image": ("image",),
    "text": ("text",),
    "both": ("image", "text"),
}
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Reevaluation:
    """A run's figures, measured again; the missing-modality curve where it was asked for, and its files."""

    run: Path
    fusion: str
    metrics: dict[str, dict[str, float]]
    evaluation: Evaluation
    folds: int
    repeats: int
    reproduced: float
    curve: Curve | None
    files: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "run": str(self.run),
            "fusion": self.fusion,
            "metrics": self.metrics,
            "folds": self.folds,
            "repeats": self.repeats,
            "reproduced": self.reproduced,
            "curve": self.curve.to_dict() if self.curve else None,
            "files": [str(path) for path in self.files],
        } | self.evaluation.to_dict()

    def to_text(self) -> str:
        """The tables that the command prints."""
        curve = f"{self.curve.to_text()}\n\n" if self.curve else ""
        written = "".join(f"\nwritten: {path}" for path in self.files)
        return (
            f"{class_table(self.evaluation.classes)}\n\n{metric_table({self.fusion: self.metrics})}\n\n"
            f"{self.evaluation.to_text()}\n\n{curve}{scored_text(self.evaluation.rows, self.folds, self.repeats)}; "
            f"{self.reproduced:.2%} of the stored predictions come out again; run folder: {self.run}{written}"
        )


def evaluate_run(
    path: Path,
    corpus: Corpus,
    *,
    missing: Missing = "none",
    cache: Path | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Reevaluation:
    """Score each fold's heads on the rows that the run's own split scores them on; write the curve into its folder.

    `missing` hides that modality from more and more of the scored posts; `both` draws a curve for each. Raises
    ValueError where the data no longer hold the run's posts, where any of them has been locked for `msa test` since,
    or where features rebuilt from the cache do not give the stored predictions.
    """
    path = find_run(path)
    run = load_run(path)
    place = cache or run.cache
    table = load_run_features(run, corpus, place)
    folds = read_folds(path / "split.json", table.posts)
    refuse_leaks(table, folds)
    held = lock(table.posts, place / "splits").held
    scored = np.unique(np.concatenate([fold.test for fold in folds]))
    if locked := int(held[scored].sum()):
        raise ValueError(
            f"{path}: {locked} of its {len(scored)} scored posts are locked for `msa test` by now; train again"
        )
    hidden = HIDDEN[missing]
    for modality in hidden:
        if not run.specs[modality]:
            raise ValueError(f"{path} sees no {modality}; there is nothing to hide, give another --missing")
    said = list(_replay(run, table, folds, hidden, seed=read_seed(path), device=pick_device(device)))
    labels = table.targets()
    metrics = [score(labels[f.test], one.whole.argmax(1), table.classes) for f, one in zip(folds, said, strict=True)]
    reproduced = _alike(path, table, folds, [one.whole for one in said])
    if reproduced < ALIKE:
        raise ValueError(
            f"{path}: {1 - reproduced:.2%} of the stored predictions come out otherwise on the features in {place}; "
            "give the cache that the run was trained on"
        )
    evaluation = evaluate_folds(table, folds, [one.whole for one in said], [one.valid for one in said])
    curve = missing_curve(labels, table.classes, folds, said, seed=seed) if hidden else None
    files = []
    if curve:
        files = [path / "curve.csv", path / "curve.svg"]
        for file, content in zip(files, (curve.to_csv(), curve.to_svg()), strict=True):
            write_atomic(file, content.encode())
    repeats = len({fold.repeat for fold in folds})
    fusion = run.config.fusion
    return Reevaluation(path, fusion, summarise(metrics), evaluation, len(folds), repeats, reproduced, curve, files)


def load_run_features(run: Run, corpus: Corpus, cache: Path) -> CachedFeatures:
    """The features that a run was trained on, for these posts. Raises ValueError where the cache lacks any."""
    return load_features(
        corpus,
        cache,
        image=run.specs["image"],
        text=run.specs["text"],
        tokens=run.config.tokens,
        patches=run.config.patches,
        classes=run.classes,
        views=run.views,
    )


def read_seed(path: Path) -> int:
    """The seed that a run's folds and heads were drawn by."""
    return int(json.loads((path / "split.json").read_text("utf-8"))["seed"])


def _replay(
    run: Run, table: CachedFeatures, folds: Sequence[Fold], hidden: Sequence[Modality], *, seed: int, device: str
) -> Iterator[FoldLogits]:
    """Logits of each fold's heads on its test rows, whole and with a modality hidden, and on their validation rows."""
    count = run.config.ensemble_size
    if len(run.heads) != count * len(folds):
        raise ValueError(f"the run has {len(run.heads)} heads for {len(folds)} folds of {count}; train again")
    with training_threads(1):
        for number, fold in enumerate(folds):
            heads = [head.to(device) for head in run.heads[number * count : (number + 1) * count]]
            reductions = run.reductions[number * count]
            inputs = Inputs(
                *(x.to(device) for x in build_inputs(table, tokens=run.config.tokens, reductions=reductions))
            )
            seen = [inputs, *build_views(table, inputs, tokens=run.config.tokens, reductions=reductions)]

            def say(rows: NDArray[np.int64], chosen: Sequence[Any], shown: Sequence[Inputs]) -> Logits:
                return log_mean([predict_logits(head, x, rows).cpu().numpy() for head in chosen for x in shown])

            parts = list(
                islice(cycle(ensemble_folds(table.posts, fold, count=min(count, VALID_PARTS), seed=seed)), count)
            )
            yield FoldLogits(
                whole=say(fold.test, heads, seen),
                without={m: say(fold.test, heads, [hide(x, m) for x in seen]) for m in hidden},
                valid=(
                    np.concatenate([part.valid for part in parts]),
                    np.concatenate([say(part.valid, [head], seen) for part, head in zip(parts, heads, strict=True)]),
                ),
            )


def hide(inputs: Inputs, modality: Modality) -> Inputs:
    """The inputs as if every post lacked that modality."""
    if modality == "image":
        return inputs._replace(image_mask=inputs.image_mask & False)
    return inputs._replace(text_mask=inputs.text_mask & False)


def _alike(path: Path, table: CachedFeatures, folds: Sequence[Fold], logits: Sequence[Logits]) -> float:
    """The share of the run's stored predictions that these logits give again."""
    with (path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        stored = {(int(line["fold"]), line["id"]): line["predicted"] for line in csv.DictReader(file)}
    found = {
        (number, table.posts.ids[row]): table.classes[best]
        for number, (fold, one) in enumerate(zip(folds, logits, strict=True))
        for row, best in zip(fold.test, one.argmax(1), strict=True)
    }
    return float(np.mean([stored.get(key) == label for key, label in found.items()]))
