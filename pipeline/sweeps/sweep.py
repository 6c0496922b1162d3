"""`msa sweep`: settings are chosen on inner folds, the chosen ones scored once on rows that took no part in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
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
from ..data.cached_features import CachedFeatures
from ..data.prepare import prepare
from ..data.split import Fold, inner_folds
from ..evaluation.ridge_baselines import baseline_metrics
from ..metrics.scores import summarise
from ..runs.runs import free_name
from ..training.folds import train_folds
from ..training.jobs import Experiment
from ..training.loop import training_threads
from .engine import Engine, open_engine
from .halving import Entry, Race, rungs_of
from .leaderboard import Choice, Sweep, leaderboard_csv
from .search import counted, identity, settled
from .space import Point, Space, apply_point
from .study import Row, Study, study_url

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
    done: Done = lambda name, number, total: None,
) -> Sweep:
    """Search the space around `head` and `training`, and write leaderboard and winner to a run folder.

    A sweep that was cut off goes on when it is called again; several processes that are called alike, on one study,
    share its trials. `ray` is the address of a cluster that trains the trials, empty for RAY_ADDRESS or one of this
    machine's own; None: this process trains them. Raises ValueError with a remedy.
    """
    started = time.perf_counter()
    if ray is not None:
        need_ray()
    tables = Tables(
        corpus, replace(data_config, folds=None if search.outer == 1 else search.outer, repeats=1), training.seed
    )
    plans: list[str] = []
    rows: list[list[Row]] = []
    search = counted(search, space, head)
    heads = search.at_once * search.inner * head.ensemble_size
    with open_engine(ray, asked=data_config.device, here=pick_device(data_config.device), heads=heads) as engine:
        first = tables.of(*_first(space, head))
        search = settled(search, space, head, training, first)
        described = identity(data_config, space, head, training, search, first)
        path = _place(runs, name, described)
        url = study_url(search.study or str(path / "study.db"))
        for number, outer in enumerate(tables.folds):
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
            found = _search(study, tables, engine, outer, head, training, search, plans, done, f"fold {number + 1}")
            rows.append(found)
    plain = replace(head, fusion="concat", inputs="pooled", options={}, ensemble_size=1)
    base = tables.of(*_first(space, plain))
    on_cpu = tables.device == "cpu"
    # The threads are set around both, since each of them would set them back while the other still trains.
    with training_threads(1 if on_cpu else torch.get_num_threads()), ThreadPoolExecutor(1) as pool:
        floors = pool.submit(baseline_metrics, base, tables.folds, seed=training.seed, metric=search.metric)
        choices = [
            _choose(found, tables, outer, head, training, data_config)
            for found, outer in zip(rows, tables.folds, strict=True)
        ]
    result = Sweep(
        path,
        choices,
        summarise([choice.outer for choice in choices]),
        floors.result(),
        rows,
        search.metric,
        url,
        plans[-1] if plans else "nothing left to train",
        round(time.perf_counter() - started, 2),
    )
    write_atomic(path / "leaderboard.csv", leaderboard_csv(rows).encode())
    described |= result.to_dict() | {"finished": True}
    write_atomic(path / "sweep.json", (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode())
    return result


class Tables:
    """The tables that points of the space want: each combination of encoders and inputs loaded when it is wanted."""

    def __init__(self, corpus: Corpus, data_config: DataConfig, seed: int) -> None:
        self.corpus, self.data_config, self.seed = corpus, data_config, seed
        self.folds: list[Fold] = []
        self.device = "cpu"
        self._load = lru_cache(maxsize=8)(self._read)

    def of(self, point: Point, head: HeadConfig) -> CachedFeatures:
        """The table for a head at a point of the space."""
        image, text = encoders_of(point, self.data_config)
        return self._load(image, text, head.tokens, head.patches if head.tokens else None, head.views)

    def _read(self, image: Any, text: Any, tokens: bool, patches: Any, views: int) -> CachedFeatures:
        kind = HeadConfig("concat", inputs="tokens" if tokens else "pooled", patches=patches, views=views)
        data_config = replace(self.data_config, image=image, text=text)
        table, self.folds, self.device = prepare(self.corpus, data_config, kind, seed=self.seed)
        return table


def encoders_of(point: Point, data_config: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The image and text encoders of a point, by name; those of the data_config where it does not vary them."""
    image, text = (str(point[side]).split("+") if side in point else None for side in ("image", "text"))
    return tuple(image or data_config.image), tuple(text or data_config.text)


def _search(
    study: Study,
    tables: Tables,
    engine: Engine,
    outer: Fold,
    head: HeadConfig,
    training: TrainConfig,
    search: Search,
    plans: list[str],
    done: Done,
    name: str,
) -> list[Row]:
    """Run the batches of one outer fold's study that are free, until all are done; every trial of it, in order."""
    first = tables.of(*_first(study.space, head))
    inner = inner_folds(first.posts, outer, folds=search.inner, seed=training.seed)
    rungs = rungs_of(training.epochs, search.halving)
    ended = sum(row.state != "running" for row in study.rows())
    done(name, ended, search.trials)

    def tick(row: Row) -> None:
        nonlocal ended
        ended += 1
        done(name, min(ended, search.trials), search.trials)

    while (batch := study.leases.claim()) is not None:
        with study.leases.holding(batch):
            entries = []
            for row in study.open_batch(batch):
                try:
                    config, settings = apply_point(row.point, head, training)
                    entries.append(Entry(row, tables.of(row.point, config), Experiment(config, settings)))
                except ValueError as error:
                    if row.state == "running":
                        study.end(row, "fail", str(error))
            race = Race(
                study,
                entries,
                inner,
                rungs=rungs,
                halving=search.halving,
                metric=search.metric,
                engine=engine,
                ended=tick,
            )
            race.run()
            plans += [str(plan) for plan in race.plans[:1]]
    return study.rows()


def _choose(
    rows: Sequence[Row], tables: Tables, outer: Fold, head: HeadConfig, training: TrainConfig, data_config: DataConfig
) -> Choice:
    """The winner of these trials, trained on the outer fold's own rows and scored once."""
    whole = [row for row in rows if row.state == "complete"]
    if not whole:
        raise ValueError(f"every trial failed; the first: {rows[0].notes.get('error', 'unknown')}")
    best = max(whole, key=lambda row: (row.values[max(row.values)], -row.index))
    config, settings = apply_point(best.point, head, training)
    table = tables.of(best.point, config)
    result = train_folds(table, [outer], config, settings, device=tables.device)[0]
    image, text = encoders_of(best.point, data_config)
    return Choice(best.index, image, text, config, settings, best.notes["metrics"], result.metrics)


def _first(space: Space, head: HeadConfig) -> tuple[dict[str, Any], HeadConfig]:
    """A point of the space that names one combination of encoders, and the head there."""
    point = {
        name: side[0] for name, side in space.names.items() if name in ("image", "text") and isinstance(side, tuple)
    }
    return point, head


def _place(runs: Path, name: str, described: dict[str, Any]) -> Path:
    """The folder of this sweep: where it was cut off, or is going on in another process; else a new one."""
    make_folder(runs)
    with FileLock(runs / ".sweep.lock"):
        for file in sorted(runs.glob(f"{name}*/sweep.json")):
            stored = json.loads(file.read_text("utf-8"))
            if stored["identity"] == described["identity"] and not stored.get("finished"):
                return file.parent
        path = free_name(runs, name)
        write_atomic(path / "sweep.json", (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode())
        return path
