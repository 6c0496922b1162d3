"""Claim: every system of the reports runs under one leak-free protocol: reported, measured, paired with linear.

    python benchmarks/systems.py --data DIR --cache DIR [--folds 10] [--share 1/2] [--only R2-fourway]

Every recipe on the same cached features (the encoders that come with PyPI packages, unless a recipe learns its own),
the same folds (stratified, grouped by duplicate content), nothing tuned on test rows. The recipes' losses,
optimizers and schedules are theirs; for two processor cores the sizes are bounded: width 128, 64 for heads on tokens,
tokens of width 256 on a 4 x 4 grid, 20 epochs. Recipes that train encoders from scratch run as they are, on the first
three folds, and are paired with the majority class as well; their settings were chosen on the other folds.
Finished recipes are kept in --out and not repeated; `--share` divides them among several processes. The last ratio is
the share of the recipes that were measured.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common import DATA, check_target, machine

from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.features.text_table import table
from msa.heads.registry import head_info
from msa.pipeline.commands.declare import generate_options, option_values
from msa.pipeline.commands.recipes import Recipe, read_recipes
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.evaluation.baselines import baseline_predictions
from msa.pipeline.evaluation.comparison import evaluate_folds
from msa.pipeline.training.folds import train_folds
from msa.pipeline.training.pseudo_labels import train_with_pseudo_labels

EMBEDDED = {"image": "efficientnet_lite0", "text": "minilm"}
BASELINES: dict[int, dict[str, list[Any]]] = {}  # predictions by the number of folds: the same for all recipes
FROM_SCRATCH = {"pixels64", "tokens"}
SCORED = 3  # folds of recipes that train encoders from scratch
LARGEST = {"pooled": {"hidden": 128, "epochs": 20}, "tokens": {"hidden": 64, "epochs": 20}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--share", default="1/1", help="this process takes every n-th recipe: i/n")
    parser.add_argument("--only", action="append", default=[], help="these recipes alone")
    parser.add_argument("--out", type=Path, default=Path("systems"), help="folder of finished recipes")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    recipes = [recipe for recipe in read_recipes() if not given.only or recipe.name in given.only]
    recipes.sort(key=lambda recipe: (from_scratch(recipe), suits(recipe)))  # the longest last
    index, parts = map(int, given.share.split("/"))
    corpus = read_corpus(given.data)
    for recipe in recipes[index - 1 :: parts]:
        path = place(given.out, recipe)
        if not path.exists():
            print(f"{recipe.name} …", flush=True)
            path.write_text(json.dumps(measure(recipe, corpus, given.cache, given.folds)))
    paths = [(recipe, place(given.out, recipe)) for recipe in recipes]
    found = [(recipe, json.loads(path.read_text())) for recipe, path in paths if path.exists()]
    header = ["recipe", "reported", "accuracy", "macro F1", "minus linear", "p", "folds", "seconds"]
    print(table(header, [line(recipe, one) for recipe, one in found]))
    if towers := [majority_line(recipe, one) for recipe, one in found if from_scratch(recipe)]:
        print(table(["recipe", "accuracy", "majority class", "difference", "p", "processor minutes"], towers))
    check_target("recipes measured", len(found) / len(recipes), 1.0)


def place(folder: Path, recipe: Recipe) -> Path:
    return folder / f"{recipe.name}.json"


def from_scratch(recipe: Recipe) -> bool:
    return bool(FROM_SCRATCH & {recipe.options["image"], recipe.options["text"]})


def suits(recipe: Recipe) -> str:
    return head_info(recipe.options["fusion"]).inputs


def measure(recipe: Recipe, corpus: Corpus, cache: Path, folds: int) -> dict[str, Any]:
    """Train a recipe on every fold; its metrics, and the differences from the linear probe and the majority class."""
    options = {name.replace("-", "_"): value for name, value in recipe.options.items()}
    if not from_scratch(recipe):
        defaults = option_values(HeadConfig()) | option_values(TrainConfig())
        most = LARGEST[suits(recipe)]
        options |= {name: min(options.get(name, defaults[name]), bound) for name, bound in most.items()}
        options["option"] = [one for one in options.get("option", []) if not one.startswith("ffn=")]
        options |= {"patches": "4x4", "token_width": 256}
    head, training = read(HeadConfig, options), read(TrainConfig, options)
    encoders = {side: options[side] if from_scratch(recipe) else name for side, name in EMBEDDED.items()}
    stage = DataConfig(cache, (encoders["image"],), (encoders["text"],), folds=folds, device="cpu")
    features, split, device = prepare(corpus, stage, head, seed=training.seed)
    split = split[:SCORED] if from_scratch(recipe) else split
    if len(split) not in BASELINES:
        embedded = replace(stage, image=(EMBEDDED["image"],), text=(EMBEDDED["text"],))
        plain, _, _ = prepare(corpus, embedded, HeadConfig("concat"), seed=training.seed)
        BASELINES[len(split)] = baseline_predictions(plain, split, seed=training.seed, systems=["majority", "linear"])
    baselines = BASELINES[len(split)]
    started, busy = time.perf_counter(), time.process_time()
    if method := options.get("unlabelled"):
        results = train_with_pseudo_labels(features, split, head, training, method=method, device=device)
    else:
        results = train_folds(features, split, head, training, device=device)
    seconds, processor = time.perf_counter() - started, time.process_time() - busy
    validation = [(result.valid_rows, result.valid_logits) for result in results]
    logits = [one.logits for one in results]
    evaluation = evaluate_folds(features, split, logits, validation, fusion=head.fusion, baselines=baselines)
    return {
        "metrics": evaluation.metrics,
        "intervals": {name: asdict(one) for name, one in evaluation.intervals.items()},
        "against": {
            name: {
                "accuracy": evaluation.baselines[name]["accuracy"]["mean"],
                "difference": test.difference["accuracy"],
                "mcnemar": test.mcnemar,
            }
            for name, test in evaluation.tests.items()
        },
        "folds": len(split),
        "of": folds,
        "seconds": seconds,
        "processor": processor,
        "machine": machine(),
    }


def read(kind: Any, options: dict[str, Any]) -> Any:
    """A config from values as the command line takes them."""
    generated = {one.parameter.name: one for one in generate_options(kind)}
    return kind(**{generated[n].field: generated[n].form.read(v) for n, v in options.items() if n in generated})


def line(recipe: Recipe, one: dict[str, Any]) -> list[str]:
    means = [
        f"{one['metrics'][name]['mean']:.3f} ± {one['metrics'][name]['std']:.3f}" for name in ("accuracy", "macro_f1")
    ]
    folds = str(one["folds"]) if one["folds"] == one["of"] else f"{one['folds']} of {one['of']}"
    linear = one["against"]["linear"]
    found = [f"{linear['difference']:+.3f}", f"{linear['mcnemar']:.3f}", folds, f"{one['seconds']:.0f}"]
    return [recipe.name, recipe.reported or "–", *means, *found]


def majority_line(recipe: Recipe, one: dict[str, Any]) -> list[str]:
    """A recipe that trains its encoders, paired with the majority class."""
    majority = one["against"]["majority"]
    found = [f"{majority['accuracy']:.3f}", f"{majority['difference']:+.3f}", f"{majority['mcnemar']:.2g}"]
    return [recipe.name, f"{one['metrics']['accuracy']['mean']:.3f}", *found, f"{one['processor'] / 60:.1f}"]


if __name__ == "__main__":
    main()
