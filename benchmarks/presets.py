"""Claim: each preset of msa is more accurate than the one before it, and says what it takes.

    for preset in fast good best; do msa extract --preset $preset; done
    python benchmarks/presets.py --data DIR --cache DIR

Ten folds grouped by duplicates, on the cached features of each preset; the heads are trained as `msa train-head
--preset NAME --folds 10` does, without baselines and report. Extraction is timed on 200 posts after 50 others, without
a cache, and multiplied. Times are processor minutes: those of one core, whatever else the machine does. The ratio is
the smallest one of the accuracies of two neighbouring presets.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
from common import check_target, options

from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.features.text_table import table as text_table
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.forms import read_settings
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.presets import Preset, read_preset
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.evaluation.comparison import by_repeat
from msa.pipeline.metrics.scores import summarise
from msa.pipeline.metrics.statistics import bootstrap
from msa.pipeline.training.folds import train_folds

FOLDS, FIRST, TIMED = 10, 50, 200
HEADER = ["preset", "accuracy", "95 % interval", "macro-F1", "95 % interval", "extract", "one head"]


def main() -> None:
    given = options(__doc__)
    corpus = read_corpus(given.data)
    lines, accuracies = [], []
    for name in get_args(Preset):
        minutes = extract_seconds(name, given.data) * len(corpus.samples) / 60
        line, accuracy = measure(name, corpus, given.cache, minutes)
        print(*line, flush=True)
        lines.append(line)
        accuracies.append(accuracy)
    print(text_table(HEADER, lines))
    pairs = zip(accuracies[1:], accuracies[:-1], strict=True)
    check_target("accuracy of a preset over the one before", min(one / before for one, before in pairs), 1.0)


def measure(name: str, corpus: Corpus, cache: Path, minutes: float) -> tuple[list[str], float]:
    """The line of a preset, and its accuracy."""
    preset = read_preset(name)
    stage: dict[str, Any] = read_settings(DataConfig, preset) | {"cache": cache, "folds": FOLDS, "device": "cpu"}
    head, training = HeadConfig(**read_settings(HeadConfig, preset)), TrainConfig(**read_settings(TrainConfig, preset))
    table, folds, device = prepare(corpus, DataConfig(**stage), head, seed=training.seed)
    started = time.process_time()
    results = train_folds(table, folds, head, training, device=device)
    seconds = (time.process_time() - started) / FOLDS
    means = summarise([one.metrics for one in results])
    rows = by_repeat(folds, [fold.test for fold in folds])[0]
    predicted = by_repeat(folds, [one.logits.argmax(1) for one in results])
    found = bootstrap(table.posts.groups[rows], table.targets()[rows], predicted, classes=len(table.classes))
    scores = []
    for metric, interval in found.items():
        mean = means[metric]
        scores += [f"{mean['mean']:.3f} ± {mean['std']:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"]
    return [name, *scores, f"{minutes:.1f} min", f"{seconds / 60:.2f} min"], float(
        np.float64(means["accuracy"]["mean"])
    )


def extract_seconds(name: str, data: Path) -> float:
    """Processor seconds that extracting one post with a preset takes, without the start of the command."""
    spent = []
    for limit in (FIRST, FIRST + TIMED):
        with tempfile.TemporaryDirectory() as cache:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            words = ["extract", str(data), "--preset", name, "--limit", str(limit), "--cache", cache, "--quiet"]
            subprocess.run([sys.executable, "-m", "msa.cli", *words], check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return max(spent[1] - spent[0], 0.0) / TIMED


if __name__ == "__main__":
    main()
