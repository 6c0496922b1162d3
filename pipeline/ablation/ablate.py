"""`msa ablate`: what each modality, or a part of a head, is worth, with proof that taking it away changed something."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from ...features.posts.samples import Corpus
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures, find_spec
from ..data.leaks import refuse_leaks
from ..data.prepare import prepare
from ..data.split import ensemble_folds
from ..runs.runs import free_name
from ..training.fold_result import FoldResult
from ..training.folds import FoldDone, train_experiments
from ..training.jobs import Experiment
from .ablation_table import Ablation, write_ablation
from .occlusion import Replacement, predict_without
from .results import Scoring, change, judge_row, worth
from .variants import WITHOUT, Part, Variant, extracted_views, modalities_of, variants_of

Modalities = Literal["image", "text", "all"]
How = Literal["retrain", Replacement]
UNCHANGED = 1e-5  # logits that differ by no more than this, a rounding, say that the input did not matter
ORDERS: dict[Modalities, tuple[str, ...]] = {
    "all": ("both", "text", "image"),
    "image": ("both", "text", "image"),
    "text": ("both", "image", "text"),
}
TAKEN: dict[How, str] = {
    "retrain": "hiding the {}",
    "null": "hiding the {}",
    "zero": "zeros in place of the {}",
    "mean": "the mean in place of the {}",
    "shuffle": "another post's {}",
}


def ablate(
    corpus: Corpus,
    data_config: DataConfig,
    config: HeadConfig | Sequence[HeadConfig],
    training: TrainConfig,
    *,
    modality: Modalities = "all",
    how: How = "retrain",
    part: Part | None = None,
    seeds: int = 1,
    runs: Path = Path("runs"),
    done: FoldDone = lambda number, total: None,
) -> Ablation:
    """Compare a full head with the same without a modality, and with it alone: same splits, same seeds.

    `how` "retrain" masks a modality in training and scoring alike, so that the head trains its learned stand-in; else
    the full head is scored as it is, with that modality replaced (see `Removal`). `part` compares trained variants
    of the head instead. Several configs, which differ in their fusion, and `seeds` seeds, from `training.seed` on, are
    trained together. Both modalities must be cached. Rows whose logits do not differ from the full head's are refused.

    Raises ValueError with a remedy.
    """
    started = time.perf_counter()
    configs = [config] if isinstance(config, HeadConfig) else list(config)
    _check(modality, how, part, seeds)
    if part == "views" and not configs[0].views:
        image = [find_spec(data_config.cache, name, "image") for name in data_config.image if name != "none"]
        configs = [replace(one, views=extracted_views(data_config.cache, image)) for one in configs]
    plans = [
        variants_of(part, one, training) if part else modalities_of(one, training, retrain=how == "retrain")
        for one in configs
    ]
    scoring, device = _load(corpus, data_config, configs, training, seeds)
    _check_features(scoring.table, how, part)
    rows, refused, shapley = [], {}, {}
    for plan, results in zip(plans, train_plans(scoring, plans, device=device, done=done), strict=True):
        full = plan[0].config
        said = proof = {name: [result.logits for result in found] for name, found in results.items()}
        if how != "retrain":
            every = [training.seed + number for number in range(seeds)]
            said = proof = predict_without(scoring.table, full, results["both"], how, seeds=every, device=device)
        elif not part:  # two trainings differ by rounding alone, so one head has to show that it reads the input
            first = results["both"][:1]
            proof = predict_without(scoring.table, full, first, "null", seeds=[training.seed], device=device)
        names = list(results) if part else ORDERS[modality]
        idle = [name for name in names[1:] if change(proof[name], proof[names[0]])["logits"] <= UNCHANGED]
        for name in names:
            if name in idle:
                why = _idle(scoring, full, how, name) if not part else f"{name} gave the very logits of {names[0]}"
                refused[name if len(configs) == 1 else f"{full.fusion}/{name}"] = why
            else:
                seen, variant = ("both", name) if part else (name, "")
                row = judge_row(scoring, said[name], said[names[0]], fusion=full.fusion, inputs=seen, variant=variant)
                rows.append(row)
        if not part and not idle:
            scores = {name: scoring.metrics(logits) for name, logits in said.items()}
            shapley[full.fusion] = worth({"neither": scoring.majority()} | scores)
    path = free_name(runs, f"ablate-{configs[0].fusion if len(configs) == 1 else f'{len(configs)}-heads'}")
    ablation = Ablation(
        fusion=",".join(one.fusion for one in configs),
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
    )
    settings = {"head": asdict(configs[0]) | {"fusion": ablation.fusion}, "training": asdict(training)}
    write_ablation(ablation, settings | {"encoders": {"image": data_config.image, "text": data_config.text}})
    return ablation


def train_plans(
    scoring: Scoring, plans: Sequence[Sequence[Variant]], *, device: str, done: FoldDone
) -> list[dict[str, list[FoldResult]]]:
    """Train every variant of every plan on all folds with all seeds: for each plan, results by name, seed by seed.

    A table with views shows them to all that is trained on it, so variants without views have a table of their own.
    """
    found: list[dict[str, list[FoldResult]]] = [{variant.name: [] for variant in plan} for plan in plans]
    whole = sum(len(plan) for plan in plans) * scoring.seeds * len(scoring.folds)
    before = 0
    for views in (False, True):
        places, tasks = [], []
        for number, plan in enumerate(plans):
            for variant in plan:
                for seed in range(scoring.seeds if bool(variant.config.views) == views else 0):
                    settings = replace(variant.training, seed=variant.training.seed + seed)
                    places.append(found[number][variant.name])
                    tasks.append(Experiment(variant.config, settings, variant.without))

        def step(number: int, total: int, before: int = before) -> None:
            done(before + number, whole)

        if tasks:
            table = scoring.table if views else _without_views(scoring.table)
            for place, results in zip(
                places, train_experiments(table, scoring.folds, tasks, device=device, done=step), strict=True
            ):
                place += results
        before += len(tasks) * len(scoring.folds)
    return found


def _check(modality: str, how: str, part: str | None, seeds: int) -> None:
    if modality not in ORDERS:
        raise ValueError(f"modality must be image, text or all; got {modality!r}")
    if how not in TAKEN:
        raise ValueError(f"how must be one of {', '.join(TAKEN)}; got {how!r}")
    if seeds < 1:
        raise ValueError(f"seeds must be 1 or more; got {seeds}")
    if part and (modality != "all" or how != "retrain"):
        raise ValueError(f"--part {part} trains variants of the head; leave --modality and --how out")


def _load(
    corpus: Corpus, data_config: DataConfig, configs: Sequence[HeadConfig], training: TrainConfig, seeds: int
) -> tuple[Scoring, str]:
    """One table that serves all heads, its folds, and the device."""
    tokens = any(one.tokens for one in configs)
    loaded = replace(configs[0], inputs="tokens" if tokens else "pooled")
    table, folds, device = prepare(corpus, data_config, loaded, seed=training.seed)
    count = configs[0].ensemble_size
    for seed in range(training.seed + 1, training.seed + seeds):  # which deals the members' validation rows anew
        refuse_leaks(
            table, [one for fold in folds for one in ensemble_folds(table.posts, fold, count=count, seed=seed)]
        )
    return Scoring(table, folds, seeds), device


def _check_features(table: CachedFeatures, how: How, part: str | None) -> None:
    if part:
        return
    if table.image is None or table.text is None:
        raise ValueError("an ablation needs both modalities; give --image and --text")
    raw = [spec.name for side in table.specs.values() for spec in side if spec.raw]
    if raw and how in ("zero", "mean"):
        raise ValueError(
            f"--how {how} replaces embeddings, and {raw[0]} gives none; use --how shuffle, null or retrain"
        )


def _without_views(table: CachedFeatures) -> CachedFeatures:
    return replace(table, image=replace(table.image, views=())) if table.image and table.image.views else table


def _idle(scoring: Scoring, config: HeadConfig, how: How, seen: str) -> str:
    """Why a row is refused that has the full head's logits."""
    taken = WITHOUT[seen]
    side = scoring.table.image if taken == "image" else scoring.table.text
    none = side is not None and not any(side.present[fold.test].any() for fold in scoring.folds)
    why = "no scored post has one" if none else f"the {config.fusion!r} head does not read it"
    return f"{TAKEN[how].format(taken)} changed no logits: {why}"


def _notes(scoring: Scoring, training: TrainConfig, how: How) -> list[str]:
    """What a reader of the figures should know."""
    if how != "null" or training.modality_dropout:
        return []
    sides = {"image": scoring.table.image, "text": scoring.table.text}
    whole = [
        name
        for name, side in sides.items()
        if side is not None and all(side.present[fold.train].all() for fold in scoring.folds)
    ]
    return [
        f"no training post lacked its {name}, so what stands in for it was never trained; add --modality-dropout 0.1"
        for name in whole
    ]
