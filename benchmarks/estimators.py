"""Claim: the best classifier that can be a head (`--fusion estimator:…`) is as accurate as the gated head within 1 %.

    python benchmarks/estimators.py --data DIR --cache DIR

Same cached features (`efficientnet_lite0`, `minilm`), same five folds (stratified, grouped by duplicate content), each
head with its defaults, nothing tuned on test rows. TabICL is left out, since its weights come from a hub. Seconds are
those of the processor, one thread, for all five folds: training, calibration and prediction. The ratio is the best
classifier's accuracy over the gated head's.
"""

from __future__ import annotations

import time

from common import check_target, options

from msa.features.posts.layouts import read_corpus
from msa.features.text_table import table as text_table
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.evaluation.comparison import evaluate_folds
from msa.pipeline.metrics.tables import mean_sd
from msa.pipeline.training.folds import train_experiments
from msa.pipeline.training.jobs import Experiment

GATED = "gated"
CLASSIFIERS = (
    "estimator:sklearn.svm.SVC",
    "estimator:sklearn.linear_model.LogisticRegression",
    "estimator:sklearn.neighbors.KNeighborsClassifier",
    "estimator:sklearn.ensemble.HistGradientBoostingClassifier",
    "estimator:pytabkit.RealMLP",
    "estimator:pytabkit.TabM",
)


def main() -> None:
    given = options(__doc__)
    stage = DataConfig(given.cache, ("efficientnet_lite0",), ("minilm",), folds=5, device="cpu")
    corpus, lines, accuracy, gated = read_corpus(given.data), [], {}, {}
    for fusion in (GATED, *CLASSIFIERS):
        config = HeadConfig(fusion)
        table, folds, device = prepare(corpus, stage, config, seed=0)
        started = time.process_time()
        (results,) = train_experiments(table, folds, [Experiment(config, TrainConfig())], device=device, threads=1)
        seconds = time.process_time() - started
        logits = [result.logits for result in results]
        validation = [(result.valid_rows, result.valid_logits) for result in results]
        found = evaluate_folds(table, folds, logits, validation, fusion=config.label, baselines=gated)
        gated = gated or {GATED: [one.argmax(1) for one in logits]}
        accuracy[fusion] = found.metrics["accuracy"]["mean"]
        against = found.tests[GATED] if fusion != GATED else None
        lines.append(
            [
                *(config.label, mean_sd(found.metrics["accuracy"]), mean_sd(found.metrics["macro_f1"])),
                *(f"{found.intervals[name].low:.3f} to {found.intervals[name].high:.3f}" for name in found.intervals),
                f"{against.difference['accuracy']:+.3f} (p {against.mcnemar:.3f})" if against else "",
                f"{seconds:.0f}",
            ]
        )
        print(*lines[-1], sep="  ", flush=True)
    header = ["head", "accuracy", "macro F1", "95 % (accuracy)", "95 % (macro F1)", "minus gated", "CPU s"]
    print(text_table(header, lines))
    best = max(accuracy[fusion] for fusion in CLASSIFIERS)
    check_target("best classifier over the gated head, accuracy", best / accuracy[GATED], 0.99)


if __name__ == "__main__":
    main()
