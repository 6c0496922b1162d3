"""Claim: the best fusion head beats scikit-learn's linear probe and support-vector machine, and each modality alone.

    python benchmarks/heads.py --data DIR --cache DIR

Same cached features, same five folds (stratified, grouped by duplicate content), nothing tuned on test rows: the
heads run with their defaults. The peers are trained on all training and validation rows. The ratio is the best fusion
head's accuracy over the best peer's or single modality's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import check_target, options
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from msa.features.posts.layouts import read_corpus
from msa.features.text_table import table as text_table
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.cached_features import CachedFeatures
from msa.pipeline.data.inputs import build_inputs
from msa.pipeline.data.prepare import prepare
from msa.pipeline.data.split import Fold
from msa.pipeline.evaluation.baselines import baseline_predictions
from msa.pipeline.evaluation.comparison import by_repeat, score_folds
from msa.pipeline.evaluation.pooled_rows import pooled_matrix
from msa.pipeline.metrics.scores import score, summarise
from msa.pipeline.metrics.statistics import bootstrap
from msa.pipeline.metrics.tables import metric_cells
from msa.pipeline.training.folds import train_folds

FUSIONS = {
    "concat": HeadConfig(fusion="concat"),
    "weighted": HeadConfig(fusion="weighted"),
    "gated": HeadConfig(fusion="gated"),
    "attention": HeadConfig(fusion="attention"),
    "gated, 5 heads per fold": HeadConfig(fusion="gated", ensemble_size=5),
    "attention, 5 heads per fold": HeadConfig(fusion="attention", ensemble_size=5),
}
SINGLES = {"text": HeadConfig(fusion="text"), "image": HeadConfig(fusion="image")}
SINGLES |= {f"{name}, 5 heads per fold": HeadConfig(fusion=name, ensemble_size=5) for name in ("text", "image")}


SVM = "SVM (RBF, C=2)"


def interval(table: CachedFeatures, folds: list[Fold], predictions: list[NDArray[np.int64]]) -> str:
    """Bounds of accuracy and macro-F1 over the test rows of all folds."""
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    found = bootstrap(
        table.posts.groups[rows], table.targets()[rows], by_repeat(folds, predictions), classes=len(table.classes)
    )
    return ", ".join(f"{one.low:.3f} to {one.high:.3f}" for one in found.values())


def main() -> None:
    given = options(__doc__)
    corpus = read_corpus(Path(given.data))
    stage = DataConfig(given.cache, ("efficientnet_lite0",), ("minilm",), folds=5, device="cpu")
    rows, intervals = {}, {}
    for name, config in (FUSIONS | SINGLES).items():
        table, folds, device = prepare(corpus, stage, config, seed=0)
        results = train_folds(table, folds, config, TrainConfig(), device=device)
        rows[name] = summarise([result.metrics for result in results])
        intervals[name] = interval(table, folds, [result.logits.argmax(1) for result in results])
        print(text_table(*metric_cells({name: rows[name]})).splitlines()[-1], intervals[name], flush=True)
    matrix, labels = np.nan_to_num(pooled_matrix(build_inputs(table, tokens=False))), table.targets()
    for name, predictions in baseline_predictions(table, folds, seed=0).items():
        rows[name] = summarise(score_folds(labels, folds, predictions, table.classes))
        intervals[name] = interval(table, folds, predictions)
    found, predicted = [], []
    for fold in folds:
        rest = np.concatenate([fold.train, fold.valid])
        machine = make_pipeline(StandardScaler(), SVC(C=2)).fit(matrix[rest], labels[rest])
        predicted.append(machine.predict(matrix[fold.test]))
        found.append(score(labels[fold.test], predicted[-1], table.classes))
    rows[SVM], intervals[SVM] = summarise(found), interval(table, folds, predicted)
    header, lines = metric_cells(rows)
    print(text_table([*header, "95 % interval"], [[*line, intervals[line[0]]] for line in lines]))
    best = max(rows[name]["accuracy"]["mean"] for name in FUSIONS)
    rival = max(metrics["accuracy"]["mean"] for name, metrics in rows.items() if name not in FUSIONS)
    check_target("best fusion over best rival, accuracy", best / rival, 1.0)


if __name__ == "__main__":
    main()
