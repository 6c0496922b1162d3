"""`msa sweep`: settings are chosen on inner folds; the chosen ones are tested once, on rows that no choice has seen."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.encoders.runtime import pick_device
from ...features.extraction.ray_cluster import need_ray
from ...features.posts.samples import Corpus
from ...features.progress import keeping, stage
from ...features.store.durable import make_folder, write_atomic
from ...features.store.locks import lock
from ...features.store.stored_paths import stored_path
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.search_config import Search
from ..config.train_config import TrainConfig
from ..data.split import Fold, inner_folds
from ..evaluation.ridge_baselines import baseline_metrics
from ..metrics.scores import summarise
from ..runs.destination import check_destination, free_name
from ..runs.made import describe_made
from ..tracking.events import Result, flat, log
from ..training.folds import train_folds
from ..training.jobs import Experiment
from ..training.loop import training_threads
from .engine import Engine, open_engine
from .ensemble import Pick, check_joinable, pick_members
from .ensemble_training import save_ensemble, train_ensemble
from .halving import Entry, Halving, rungs_of
from .leaderboard import FORMAT, Choice, SweepResult, leaderboard_csv
from .replay import read_sweep
from .search import identity, with_batch_size, with_trial_count
from .space import ENCODERS, Point, Space, apply_point, encoders_of
from .study import Study, TrialRow, study_errors, study_url
from .sweep_progress import Done, SweepProgress
from .tables import TableLoader


def sweep(
    corpus: Corpus,
    data_config: DataConfig,
    space: Space,
    head: HeadConfig,
    training: TrainConfig,
    search: Search,
    *,
    runs: Path = Path("runs"),
    name: str = "sweep",
    ray: str | None = None,
    fused: bool = True,
    done: Done = lambda name, number, total: None,
) -> SweepResult:
    """Search the space around `head` and `training`, and write leaderboard and winner to a run folder.

    A sweep that was interrupted goes on when it is called again; several processes that are called alike, on one study,
    share its trials. `ray` is the address of a cluster that trains the trials, empty for RAY_ADDRESS or one of this
    machine's own; None: this machine trains them. Without `fused` each head trains alone, to the same results within
    rounding. Raises ValueError with a remedy.
    """
    started = time.perf_counter()
    if ray is not None:
        need_ray()
    check_destination(runs, name)
    folded = replace(data_config, folds=None if search.outer == 1 else search.outer, repeats=1)
    loader = TableLoader(corpus, folded, training.seed)
    search = with_trial_count(search, space, head)
    if search.ensemble == "greedy":
        check_joinable(space, head)
    heads = search.at_once * search.inner * head.ensemble_size
    first_choices: Point = {name: of[0] for name in ENCODERS if isinstance(of := space.names.get(name), tuple)}
    trials: list[list[TrialRow]] = []
    picks: list[list[Pick]] = []
    plan = ""
    with open_engine(ray, asked=data_config.device, here=pick_device(data_config.device), heads=heads) as engine:
        table, folds, device = loader.load(first_choices, head)
        search = with_batch_size(search, space, head, training, table)
        description = {"format": FORMAT} | identity(data_config, space, head, training, search, table)
        description["made"] = describe_made(corpus, table.posts)
        folder = _run_folder(runs, name, description)
        keeping(lambda: _kept(folder))
        url = study_url(search.study or str(folder / "study.db"))
        with study_errors(url):
            for number, outer in enumerate(folds):
                study_name = f"msa-{description['identity']}-{number}"
                study = Study(url, study_name, space, fusion=head.fusion, search=search, seed=training.seed)
                inner = inner_folds(table.posts, outer, folds=search.inner, seed=training.seed)
                rungs, heads = rungs_of(training.epochs, search.halving), search.inner * head.ensemble_size
                progress = SweepProgress(study, rungs, heads, fold=(number, len(folds)), done=done)
                keeping(partial(_kept, folder, progress))
                plan = _run_trials(study, loader, engine, inner, head, training, fused, progress) or plan
                trials.append(study.rows())
                if search.ensemble == "greedy":
                    picks.append(pick_members(study, inner, table))
    stage("training the winner")
    plain = replace(head, fusion="concat", inputs="pooled", options={}, ensemble_size=1)
    pooled, _, _ = loader.load(first_choices, plain)
    # The threads are set around both, since each of them would set them back while the other still trains.
    with training_threads(1 if device == "cpu" else torch.get_num_threads()), ThreadPoolExecutor(1) as pool:
        baselines = pool.submit(baseline_metrics, pooled, folds, seed=training.seed, metric=search.metric)
        tested = [_test_winner(own, loader, outer, head, training) for own, outer in zip(trials, folds, strict=True)]
    choices, predicted = zip(*tested, strict=True)
    ensemble = None
    if picks:
        trained = train_ensemble(picks, loader, table, folds, head, training)
        ensemble = save_ensemble(corpus, trained, predicted, training, path=free_name(runs, f"{name}-ensemble"))
    result = SweepResult(
        folder,
        list(choices),
        summarise([choice.outer for choice in choices]),
        baselines.result(),
        trials,
        search.metric,
        url,
        plan or "nothing left to train",
        round(time.perf_counter() - started, 2),
        ensemble=ensemble,
    )
    write_atomic(folder / "leaderboard.csv", leaderboard_csv(trials).encode())
    _write(folder, description | result.to_dict() | {"finished": True})
    _log_result(result)
    return result


def _log_result(result: SweepResult) -> None:
    """Log each trial with its inner score, and the winner with its outer scores."""
    for number, rows in enumerate(result.rows, 1):
        for row in rows:
            scores = {} if row.value is None else {f"inner_{result.metric}": row.value}
            log(
                Result(
                    f"fold {number}/trial-{row.index}",
                    flat(**row.point) | {"state": row.state, "ended": row.epochs},
                    scores,
                )
            )
    best = result.best
    means = {f"test_{name}": value["mean"] for name, value in result.outer.items()}
    log(Result("", flat(head=best.head, training=best.training, image=best.image, text=best.text), means))


def _run_trials(
    study: Study,
    loader: TableLoader,
    engine: Engine,
    inner: Sequence[Fold],
    head: HeadConfig,
    training: TrainConfig,
    fused: bool,
    progress: SweepProgress,
) -> str:
    """Run the free batches of one outer fold's study until all are done; return the plan of the last one."""
    plan = ""
    while (batch := study.leases.claim()) is not None:
        with study.leases.holding(batch):
            entries: dict[int, Entry] = {}
            for row in study.open_batch(batch):
                try:
                    config, settings = apply_point(row.point, head, training)
                    table, _, _ = loader.load(row.point, config)
                    entries[row.index] = Entry(row, table, Experiment(config, settings))
                except ValueError as error:
                    if row.state == "running":
                        study.end(row, "fail", str(error))
            halving = Halving(study, entries, inner, progress.rungs, engine, None if fused else 1, progress)
            halving.run()
            plan = halving.plan or plan
    return plan


def _test_winner(
    trials: Sequence[TrialRow], loader: TableLoader, outer: Fold, head: HeadConfig, training: TrainConfig
) -> tuple[Choice, NDArray[np.int64]]:
    """The best of these trials, trained on the outer fold's own rows and tested once: also its predictions (n,)."""
    best = min(trials, key=attrgetter("order"))
    if best.state != "complete":
        raise ValueError(f"every trial failed; the first: {trials[0].notes.get('error', 'unknown')}")
    config, settings = apply_point(best.point, head, training)
    table, _, device = loader.load(best.point, config)
    result = train_folds(table, [outer], config, settings, device=device)[0]
    image, text = encoders_of(best.point, loader.data_config)
    choice = Choice(best.index, image, text, config, settings, best.notes["metrics"], result.metrics)
    return choice, result.logits.argmax(1)


def _kept(folder: Path, progress: SweepProgress | None = None) -> str:
    ended = f" ({progress.ended} of {progress.search.trials} trials have ended)" if progress else ""
    return f"{folder} keeps what the trials have reached{ended}, and the same command continues there"


def _run_folder(runs: Path, name: str, description: dict[str, Any]) -> Path:
    """The folder of this sweep where it was interrupted, or still runs in another process; else a new one."""
    make_folder(runs)
    with lock(runs / ".sweep.lock"):
        for file in sorted(runs.glob(f"{name}*/sweep.json")):
            stored = read_sweep(file)
            if stored.get("identity") == description["identity"] and not stored.get("finished"):
                return file.parent
        path = free_name(runs, name)
        _write(path, description)
        return path


def _write(folder: Path, description: dict[str, Any]) -> None:
    """Write sweep.json, with the paths in it relative to the folder."""
    description = description | {"cache": stored_path(Path(description["cache"]), folder)}
    if ensemble := description.get("ensemble"):
        description["ensemble"] = ensemble | {"run": stored_path(Path(ensemble["run"]), folder)}
    for name in ("run", "study"):  # the folder itself, and mostly a file in it
        description.pop(name, None)
    write_atomic(folder / "sweep.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())
