"""`msa ablate`: the contribution of each modality, or of a part of a head, checked to have changed some logit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple

from ...features.posts.samples import Corpus
from ...features.progress import stage
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..config.used_settings import point_out_unused
from ..data.cached_features import CachedFeatures, find_spec
from ..data.leaks import refuse_leaks
from ..data.prepare import prepare
from ..data.split import ensemble_folds
from ..metrics.scores import Summary
from ..metrics.tables import split_text
from ..runs.destination import check_destination, new_run
from ..runs.made import describe_made
from ..runs.results import AblationRow
from ..tracking.events import Result, flat, log, log_epoch
from ..training.epochs import TrainedEpoch
from ..training.folds import FoldResult, train_experiments
from ..training.jobs import Experiment
from .ablation_table import Ablation, write_ablation
from .occlusion import Replacement, predict_without
from .results import Scoring, ablation_row, change, shapley_values
from .variants import WITHOUT, HeadPart, extracted_views, modality_variants, part_variants

Modalities = Literal["image", "text", "all"]
How = Literal["retrain", Replacement]
UNCHANGED = 1e-5  # logits that differ by no more than this, a rounding error, did not depend on the input
ROW_ORDER: dict[Modalities, tuple[str, ...]] = {
    "all": ("both", "text", "image"),
    "image": ("both", "text", "image"),
    "text": ("both", "image", "text"),
}
REMOVAL_PHRASES: dict[How, str] = {
    "retrain": "hiding the {}",
    "null": "hiding the {}",
    "zero": "zeroing the {}",
    "mean": "averaging the {}",
    "shuffle": "shuffling the {}",
}


def ablate(
    corpus: Corpus,
    data_config: DataConfig,
    config: HeadConfig | Sequence[HeadConfig],
    training: TrainConfig,
    *,
    modality: Modalities = "all",
    how: How = "retrain",
    part: HeadPart | None = None,
    seeds: int = 1,
    runs: Path = Path("runs"),
    name: str | None = None,
) -> Ablation:
    """Compare a full head with the same head without each modality, on the same splits and seeds.

    `how` "retrain" masks a modality in training and testing, so that the head learns its null vector; otherwise the
    full head is tested with that modality replaced (see `remove`). `part` compares trained variants of the head
    instead. Several configs, which differ in their fusion, and `seeds` seeds, from `training.seed` on, are trained
    together. Both modalities must be cached. Rows whose logits equal the full head's are refused.

    Raises ValueError with a remedy.
    """
    started = time.perf_counter()
    configs = [config] if isinstance(config, HeadConfig) else list(config)
    folder = name or run_name(configs)
    _check(modality, how, part, seeds)
    check_destination(runs, folder)
    for one in configs:
        point_out_unused(one, training)
    if part == "views" and not configs[0].views:
        image = [find_spec(data_config.cache, name, "image") for name in data_config.image if name != "none"]
        configs = [replace(one, views=extracted_views(data_config.cache, image)) for one in configs]
    heads = [Experiment(one, training) for one in configs]
    plans = [part_variants(part, one) if part else modality_variants(one, retrain=how == "retrain") for one in heads]
    scoring, device = _load(corpus, data_config, configs, training, seeds)
    _check_features(scoring.table, how, part)
    rows: list[AblationRow] = []
    refused: dict[str, str] = {}
    shapley: dict[str, dict[str, Summary]] = {}
    stage(f"training {'variants' if part or how == 'retrain' else 'heads'} on {split_text(len(scoring.folds))}")
    trained = train_plans(scoring, plans, device=device)
    for full, results in zip(configs, trained, strict=True):
        stage(f"comparing {full.label}")
        names = list(results) if part else ROW_ORDER[modality]
        found = _compare(scoring, full, results, names, how=how, part=part, seed=training.seed, device=device)
        rows += found.rows
        prefix = "" if len(configs) == 1 else f"{full.label}/"
        refused |= {f"{prefix}{name}": reason for name, reason in found.refused.items()}
        if found.shapley:
            shapley[full.label] = found.shapley
    with new_run(runs, folder) as (path, temp):
        ablation = Ablation(
            fusion=",".join(one.label for one in configs),
            how=how,
            part=part,
            folds=len(scoring.folds),
            seeds=seeds,
            rows=rows,
            refused=refused,
            shapley=shapley,
            notes=_notes(scoring, training, how),
            path=path,
            seconds=round(time.perf_counter() - started, 2),
            made=describe_made(corpus, scoring.table.posts),
        )
        settings = {
            "head": asdict(configs[0]) | {"fusion": ",".join(one.fusion for one in configs)},
            "training": asdict(training),
        }
        encoders = {"encoders": {"image": data_config.image, "text": data_config.text}}
        write_ablation(ablation, settings | encoders, temp)
    for row in rows:
        means = {f"test_{name}": value["mean"] for name, value in row.metrics.items()}
        log(Result(f"{row.fusion}/{row.name}", flat(fusion=row.fusion, inputs=row.inputs, variant=row.variant), means))
    log(Result("", flat(**settings, **encoders), {}))
    return ablation


def run_name(configs: Sequence[HeadConfig]) -> str:
    """The name of the run folder where none is given."""
    return f"ablate-{configs[0].label if len(configs) == 1 else f'{len(configs)}-heads'}"


def train_plans(
    scoring: Scoring, plans: Sequence[Mapping[str, Experiment]], *, device: str
) -> list[dict[str, list[FoldResult]]]:
    """Train every variant of every plan on all folds with all seeds: for each plan, results by name, seed by seed."""
    seeds = range(scoring.seeds)
    named = [
        (
            "/".join([variant.config.label, name, *[f"seed-{seed}"] * (scoring.seeds > 1)]),
            replace(variant, training=replace(variant.training, seed=variant.training.seed + seed)),
        )
        for plan in plans
        for name, variant in plan.items()
        for seed in seeds
    ]
    names, experiments = zip(*named, strict=True)

    def logged(epoch: TrainedEpoch) -> None:
        log_epoch(epoch, names[epoch.experiment])

    trained = iter(train_experiments(scoring.table, scoring.folds, experiments, device=device, epoch_done=logged))
    return [{name: [result for _ in seeds for result in next(trained)] for name in plan} for plan in plans]


class _Compared(NamedTuple):
    """The rows of one head, its refused variants with the reason of each, and Shapley values if it has all variants."""

    rows: list[AblationRow]
    refused: dict[str, str]
    shapley: dict[str, Summary]


def _compare(
    scoring: Scoring,
    full: HeadConfig,
    results: Mapping[str, list[FoldResult]],
    names: Sequence[str],
    *,
    how: How,
    part: HeadPart | None,
    seed: int,
    device: str,
) -> _Compared:
    """Compare the variants `names` of a head with the first of them, and refuse those that changed no logit."""
    logits = checked = {name: [result.logits for result in found] for name, found in results.items()}
    if how != "retrain":
        seeds = [seed + number for number in range(scoring.seeds)]
        logits = checked = predict_without(scoring.table, full, results["both"], how, seeds=seeds, device=device)
    elif not part:  # retrained heads always differ by rounding, so one of them is checked
        checked = predict_without(scoring.table, full, results["both"][:1], "null", seeds=[seed], device=device)
    reference = names[0]
    refused = {
        name: f"its logits equal those of {reference}" if part else _reason(scoring, full, how, name)
        for name in names[1:]
        if change(checked[name], checked[reference])["logits"] <= UNCHANGED
    }
    rows = []
    for name in (name for name in names if name not in refused):
        inputs, variant = ("both", name) if part else (name, "")
        rows.append(
            ablation_row(scoring, logits[name], logits[reference], fusion=full.label, inputs=inputs, variant=variant)
        )
    if part or refused:
        return _Compared(rows, refused, {})
    scores = {name: scoring.metrics([one.argmax(1) for one in found]) for name, found in logits.items()}
    return _Compared(rows, refused, shapley_values({"neither": scoring.majority()} | scores))


def _check(modality: str, how: str, part: str | None, seeds: int) -> None:
    if modality not in ROW_ORDER:
        raise ValueError(f"modality must be image, text or all; got {modality!r}")
    if how not in REMOVAL_PHRASES:
        raise ValueError(f"how must be one of {', '.join(REMOVAL_PHRASES)}; got {how!r}")
    if seeds < 1:
        raise ValueError(f"seeds must be 1 or more; got {seeds}")
    if part and (modality != "all" or how != "retrain"):
        raise ValueError(f"--part {part} trains variants of the head; leave --modality and --how out")


def _load(
    corpus: Corpus, data_config: DataConfig, configs: Sequence[HeadConfig], training: TrainConfig, seeds: int
) -> tuple[Scoring, str]:
    """One table for all heads with its folds, and the device."""
    tokens = any(one.tokens for one in configs)
    loaded = replace(configs[0], inputs="tokens" if tokens else "pooled")
    table, folds, device = prepare(corpus, data_config, loaded, seed=training.seed)
    count = configs[0].ensemble_size
    for seed in range(training.seed + 1, training.seed + seeds):  # each seed draws other validation rows
        refuse_leaks(
            table, [one for fold in folds for one in ensemble_folds(table.posts, fold, count=count, seed=seed)]
        )
    return Scoring(table, folds, seeds), device


def _check_features(table: CachedFeatures, how: How, part: str | None) -> None:
    if part:
        return
    if len(table.sides) < 2:
        raise ValueError("an ablation needs both modalities; give --image and --text")
    raw = [spec.name for side in table.specs.values() for spec in side if spec.raw]
    if raw and how in ("zero", "mean"):
        raise ValueError(
            f"--how {how} replaces embeddings, and {raw[0]} computes none; use --how shuffle, null or retrain"
        )


def _reason(scoring: Scoring, config: HeadConfig, how: How, inputs: str) -> str:
    """Why the head with only these inputs has the same logits as the full head."""
    removed = WITHOUT[inputs]
    present = scoring.table.sides[removed].present
    none = not any(present[fold.test].any() for fold in scoring.folds)
    reason = "no test post has one" if none else f"the {config.label!r} head does not read it"
    return f"{REMOVAL_PHRASES[how].format(removed)} changed no logits: {reason}"


def _notes(scoring: Scoring, training: TrainConfig, how: How) -> list[str]:
    """Caveats for the reader of the results."""
    if how != "null" or training.modality_dropout:
        return []
    return [
        f"no training post lacked its {name}, so the null vector for it was never trained; add --modality-dropout 0.1"
        for name, side in scoring.table.sides.items()
        if all(side.present[fold.train].all() for fold in scoring.folds)
    ]
