"""`msa sweep`: settings are chosen on inner folds; the chosen ones are tested once, on rows that no choice has seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from ...features.encoders.runtime import pick_device
from ...features.extraction.ray_cluster import need_ray
from ...features.posts.samples import Corpus
from ...features.store.durable import make_folder, write_atomic
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.search_config import Search
from ..config.train_config import TrainConfig
from ..data.split import Fold, inner_folds
from ..evaluation.ridge_baselines import baseline_metrics
from ..metrics.scores import summarise
from ..runs.runs import free_name
from ..training.folds import train_folds
from ..training.jobs import Experiment
from ..training.loop import training_threads
from .engine import Engine
from .halving import Entry, Halving, rungs_of
from .leaderboard import FORMAT, Choice, SweepResult, leaderboard_csv
from .open_engine import open_engine
from .search import counted, identity, settled
from .space import Space, apply_point
from .study import Row, Study, study_url
from .tables import TableLoader, encoders_of

Done = Callable[[str, int, int], None]


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
    folded = replace(data_config, folds=None if search.outer == 1 else search.outer, repeats=1)
    loader = TableLoader(corpus, folded, training.seed)
    search = counted(search, space, head)
    heads = search.at_once * search.inner * head.ensemble_size
    rows: list[list[Row]] = []
    plans: list[str] = []
    with open_engine(ray, asked=data_config.device, here=pick_device(data_config.device), heads=heads) as engine:
        table, folds, device = loader.load(_first_encoders(space), head)
        search = settled(search, space, head, training, table)
        described = {"format": FORMAT} | identity(data_config, space, head, training, search, table)
        path = _run_folder(runs, name, described)
        url = study_url(search.study or str(path / "study.db"))
        for number, outer in enumerate(folds):
            study = Study(
                url,
                f"msa-{described['identity']}-{number}",
                space,
                fusion=head.fusion,
                sampler=search.sampler,
                trials=search.trials,
                batch=search.batch,
                seed=training.seed,
            )
            inner = inner_folds(table.posts, outer, folds=search.inner, seed=training.seed)
            tick = _progress(done, f"fold {number + 1}", study, search.trials)
            plans += _search(study, loader, engine, inner, head, training, search, fused, tick)
            rows.append(study.rows())
    plain = replace(head, fusion="concat", inputs="pooled", options={}, ensemble_size=1)
    pooled = loader.load(_first_encoders(space), plain).table
    # The threads are set around both, since each of them would set them back while the other still trains.
    with training_threads(1 if device == "cpu" else torch.get_num_threads()), ThreadPoolExecutor(1) as pool:
        baselines = pool.submit(baseline_metrics, pooled, folds, seed=training.seed, metric=search.metric)
        choices = [_choose(found, loader, outer, head, training) for found, outer in zip(rows, folds, strict=True)]
    result = SweepResult(
        path,
        choices,
        summarise([choice.outer for choice in choices]),
        baselines.result(),
        rows,
        search.metric,
        url,
        plans[-1] if plans else "nothing left to train",
        round(time.perf_counter() - started, 2),
    )
    write_atomic(path / "leaderboard.csv", leaderboard_csv(rows).encode())
    _write(path, described | result.to_dict() | {"finished": True})
    return result


def _search(
    study: Study,
    loader: TableLoader,
    engine: Engine,
    inner: Sequence[Fold],
    head: HeadConfig,
    training: TrainConfig,
    search: Search,
    fused: bool,
    ended: Callable[[Row], None],
) -> list[str]:
    """Run the free batches of one outer fold's study until all are done; return the plan of each."""
    plans: list[str] = []
    while (batch := study.leases.claim()) is not None:
        with study.leases.holding(batch):
            entries = []
            for row in study.open_batch(batch):
                try:
                    config, settings = apply_point(row.point, head, training)
                    table = loader.load(row.point, config).table
                    entries.append(Entry(row, table, Experiment(config, settings)))
                except ValueError as error:
                    if row.state == "running":
                        study.end(row, "fail", str(error))
            halving = Halving(
                study,
                entries,
                inner,
                rungs=rungs_of(training.epochs, search.halving),
                halving=search.halving,
                metric=search.metric,
                engine=engine,
                fused=fused,
                ended=ended,
            )
            halving.run()
            plans += [str(plan) for plan in halving.plans[:1]]
    return plans


def _choose(rows: Sequence[Row], loader: TableLoader, outer: Fold, head: HeadConfig, training: TrainConfig) -> Choice:
    """The winner of these trials, trained on the outer fold's own rows and tested once."""
    complete = [row for row in rows if row.state == "complete"]
    if not complete:
        raise ValueError(f"every trial failed; the first: {rows[0].notes.get('error', 'unknown')}")
    best = max(complete, key=lambda row: (row.values[max(row.values)], -row.index))
    config, settings = apply_point(best.point, head, training)
    table, _, device = loader.load(best.point, config)
    result = train_folds(table, [outer], config, settings, device=device)[0]
    image, text = encoders_of(best.point, loader.data_config)
    return Choice(best.index, image, text, config, settings, best.notes["metrics"], result.metrics)


def _progress(done: Done, name: str, study: Study, trials: int) -> Callable[[Row], None]:
    """Report how many trials have ended: now, and after each one that ends."""
    ended = sum(row.state != "running" for row in study.rows())
    done(name, ended, trials)

    def tick(row: Row) -> None:
        nonlocal ended
        ended += 1
        done(name, min(ended, trials), trials)

    return tick


def _first_encoders(space: Space) -> dict[str, Any]:
    """The first encoders of the space, as a point."""
    sides = {name: space.names.get(name) for name in ("image", "text")}
    return {name: side[0] for name, side in sides.items() if isinstance(side, tuple)}


def _run_folder(runs: Path, name: str, described: dict[str, Any]) -> Path:
    """The folder of this sweep where it was interrupted, or still runs in another process; else a new one."""
    make_folder(runs)
    with FileLock(runs / ".sweep.lock"):
        for file in sorted(runs.glob(f"{name}*/sweep.json")):
            stored = json.loads(file.read_text("utf-8"))
            same = all(stored.get(key) == described[key] for key in ("format", "identity"))
            if same and not stored.get("finished"):
                return file.parent
        path = free_name(runs, name)
        _write(path, described)
        return path


def _write(folder: Path, described: dict[str, Any]) -> None:
    write_atomic(folder / "sweep.json", (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode())
