"""`msa evaluate`: a stored run tested again on the test rows of its folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...features.encoders.runtime import pick_device
from ...features.posts.samples import Corpus
from ...features.progress import stage, step
from ...features.spec import Modality
from ...features.store.json_files import read_json
from ...features.text_table import Part, Report
from ..config.memory import usable_memory
from ..data.cached_features import CachedFeatures
from ..data.inputs import mask_modality
from ..data.leaks import refuse_leaks
from ..data.split import Fold, ensemble_folds, read_folds
from ..data.test_posts import mark_test_posts
from ..metrics.probabilities import log_mean
from ..metrics.tables import scored_text
from ..runs.folders import find_run
from ..runs.made import describe_made
from ..runs.results import Evaluation
from ..runs.run_predictions import load_run_features
from ..runs.runs import Run, cache_of, load_run
from ..runs.stored_run import read_run
from ..training.fold_heads import fold_tables
from ..training.loop import training_threads
from ..training.predictions import prediction_views, view_logits
from .baselines import Logits
from .comparison import evaluate_folds
from .curves import Curve, FoldLogits, missing_curve

ALIKE = 0.999  # of the stored predictions: another device may round near ties differently
Missing = Literal["none", "image", "text", "both"]
HIDDEN: dict[Missing, tuple[Modality, ...]] = {
    "none": (),
    "image": ("image",),
    "text": ("text",),
    "both": ("image", "text"),
}


@dataclass(frozen=True)
class Reevaluation(Report):
    """A run, evaluated again; the missing-modality curve if `missing` is given, and its files."""

    run: Path
    evaluation: Evaluation
    reproduced: float
    curve: Curve | None
    files: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "run": str(self.run),
            "reproduced": self.reproduced,
            "curve": self.curve.to_dict() if self.curve else None,
            "files": [str(path) for path in self.files],
        } | asdict(self.evaluation)

    def parts(self) -> list[Part]:
        """The tables that the command prints, and where the files are."""
        found = self.evaluation
        curve: list[Part] = [self.curve.table()] if self.curve else []
        written = "".join(f"\nwritten: {path}" for path in self.files)
        scored = scored_text(found.rows, found.folds, found.repeats)
        reproduced = f"{self.reproduced:.2%} of the stored predictions are reproduced"
        return [*found.parts(), *curve, f"{scored}; {reproduced}\nrun folder: {self.run}{written}"]


def evaluate_run(
    path: Path,
    corpus: Corpus,
    *,
    missing: Missing = "none",
    cache: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    memory: str = "",
) -> Reevaluation:
    """Test each fold's heads on the test rows of the run's own split; write the curve into its folder.

    `missing` hides that modality from more and more of the test rows; `both` draws a curve for each. `memory` is what
    features may take, as `4GB`; half of what is free if empty. Raises ValueError where the data no longer hold the
    run's posts, where any of them is a test post of `msa test` by now, or where the features in the cache do not
    reproduce the stored predictions.
    """
    path = find_run(path)
    run = load_run(path)
    cache = cache_of(run, cache)
    table = load_run_features(run, corpus, cache, memory=usable_memory(memory))
    folds, posts = read_folds(path / "split.json", table.posts)
    table = replace(table, posts=posts)
    refuse_leaks(fold_tables(table, run.config, len(folds)), folds)
    in_test_set = mark_test_posts(table.posts, cache / "splits").in_test_set
    rows = np.unique(np.concatenate([fold.test for fold in folds]))
    if count := int(in_test_set[rows].sum()):
        raise ValueError(f"{path}: {count} of its {len(rows)} test rows are test posts by now; train again")
    hidden = HIDDEN[missing]
    for modality in hidden:
        if not run.specs[modality]:
            raise ValueError(f"{path} has no {modality} encoder; there is nothing to hide, give another --missing")
    stage("predicting the test rows")
    head_seed = read_json(path / "split.json", "a run's split", "train again", seed=int)["seed"]
    outputs = list(_predict_folds(run, table, folds, hidden, seed=head_seed, device=pick_device(device)))
    logits = [one.whole for one in outputs]
    reproduced = _reproduced(path, table, folds, logits)
    if reproduced < ALIKE:
        raise ValueError(
            f"{path}: {1 - reproduced:.2%} of the stored predictions are not reproduced on the features in {cache}; "
            "give the cache that the run was trained on"
        )
    valid = [one.valid for one in outputs]
    evaluation = evaluate_folds(table, folds, logits, valid, fusion=run.config.label, temperatures=run.temperatures)
    if not hidden:
        return Reevaluation(path, evaluation, reproduced, None, [])
    curve = missing_curve(table.targets(), table.classes, folds, outputs, seed=seed)
    settings = {"missing": missing, "seed": seed}
    return Reevaluation(path, evaluation, reproduced, curve, curve.write(path, describe_made(corpus, posts), settings))


def _predict_folds(
    run: Run, table: CachedFeatures, folds: Sequence[Fold], hidden: Sequence[Modality], *, seed: int, device: str
) -> Iterator[FoldLogits]:
    """Logits of each fold's heads on its test rows, whole and with a modality hidden, and on their validation rows."""
    size = run.config.ensemble_size
    if len(run.heads) != size * len(folds):
        raise ValueError(f"the run has {len(run.heads)} heads for {len(folds)} folds of {size}; train again")
    with training_threads(1):
        for number, (fold, (heads, reductions)) in enumerate(zip(folds, run.folds, strict=True)):
            step("folds", number, len(folds), "folds")
            views = prediction_views(table, run.config, reductions, device)
            heads = [head.to(device) for head in heads]
            valid = [member.valid for member in ensemble_folds(table.posts, fold, count=size, seed=seed)]
            masked = {modality: [mask_modality(view, modality) for view in views] for modality in hidden}
            yield FoldLogits(
                whole=log_mean(view_logits(heads, views, fold.test)),
                without={name: log_mean(view_logits(heads, shown, fold.test)) for name, shown in masked.items()},
                valid=(
                    np.concatenate(valid),
                    np.concatenate(
                        [log_mean(view_logits([head], views, rows)) for head, rows in zip(heads, valid, strict=True)]
                    ),
                ),
            )


def _reproduced(path: Path, table: CachedFeatures, folds: Sequence[Fold], logits: Sequence[Logits]) -> float:
    """The share of the run's stored predictions that these logits reproduce."""
    known = read_run(path).predictions
    assert known, "a run folder has predictions"
    stored = {post: known.classes[best] for post, best in zip(known.posts, known.predicted, strict=True)}
    found = {
        (table.posts.ids[row], str(fold.repeat)): table.classes[best]
        for fold, one in zip(folds, logits, strict=True)
        for row, best in zip(fold.test, one.argmax(1), strict=True)
    }
    return float(np.mean([stored.get(key) == label for key, label in found.items()]))
