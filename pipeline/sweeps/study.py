"""The trials of a sweep: drawn by grid, at random or by TPE, kept in Optuna's storage as they run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...features.store.json_files import check_format
from ..config.search_config import Sampler
from .leases import Leases
from .space import Range, Space, Value

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
FORMAT = 1  # of what a study stores beside Optuna's own fields
ATTEMPTS = 5  # at opening a database that others are opening, too


@dataclass(frozen=True)
class Row:
    """One trial: its number, the point of the space, its state, and its values at the rungs (epochs to value)."""

    index: int
    point: dict[str, Value]
    state: Literal["running", "complete", "pruned", "fail"]
    values: dict[int, float]
    notes: dict[str, Any]
    number: int  # in Optuna's count
    id: int


class Study:
    """`trials` trials in batches of `batch`; a batch is one process's at a time.

    A trial is drawn from (seed, its index), by TPE also from what ended in earlier batches, so that neither an
    interruption nor other processes change what is tried.
    """

    def __init__(
        self, url: str, name: str, space: Space, *, fusion: str, sampler: Sampler, trials: int, batch: int, seed: int
    ) -> None:
        self.space, self.fusion, self.sampler, self.seed = space, fusion, sampler, seed
        self.points = space.grid(fusion) if sampler == "grid" else []
        self.trials, self.batch = trials, batch
        self.storage = open_storage(url)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            storage=self.storage, study_name=name, direction="maximize", load_if_exists=True
        )
        try:
            check_format(self.study.user_attrs.get("format", FORMAT), FORMAT)
        except ValueError as error:
            raise ValueError(f"--study {url}: {error}; give another database") from error
        self.study.set_user_attr("format", FORMAT)
        self.leases = Leases(self.storage.engine, name, -(-trials // batch))

    def rows(self) -> list[Row]:
        """Every trial so far, in order."""
        return sorted(map(_row, self._stored()), key=lambda row: row.index)

    def open_batch(self, batch: int) -> list[Row]:
        """The trials of a batch: those that are there already, as they were left, and the others, drawn now."""
        stored = {trial.user_attrs["index"]: trial for trial in self._stored()}
        start = batch * self.batch
        indices = range(start, min(start + self.batch, self.trials))
        known = [trial for index, trial in sorted(stored.items()) if index < start and trial.state in ENDED]
        for index in indices:
            if index not in stored:
                params, distributions = self._draw(index, known)
                trial = create_trial(
                    state=TrialState.RUNNING,
                    params=params,
                    distributions=distributions,
                    user_attrs={"index": index},
                )
                self.study.add_trial(trial)
        return [row for row in self.rows() if row.index in indices]

    def report(self, row: Row, epochs: int, value: float, notes: Mapping[str, Any]) -> None:
        """Keep a trial's value at a rung, and what else is known of it by then."""
        self.leases.check()
        trial = Trial(self.study, row.id)
        trial.set_user_attr("notes", dict(notes))
        trial.report(value, epochs)
        row.values[epochs] = value

    def end(self, row: Row, state: Literal["complete", "pruned", "fail"], error: str = "") -> None:
        """Keep that a trial is over; one that is complete has its last rung's value."""
        self.leases.check()
        if error:
            Trial(self.study, row.id).set_user_attr("notes", {"error": error})
        value = row.values[max(row.values)] if state == "complete" else None
        self.study.tell(row.number, value, state=TrialState[state.upper()])

    def _stored(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if "index" in trial.user_attrs]

    def _draw(self, index: int, known: Sequence[FrozenTrial]) -> tuple[dict[str, Value], dict[str, BaseDistribution]]:
        if self.sampler == "tpe":
            return self._ask(index, known)
        point = self.points[index] if self.sampler == "grid" else self._random(index)
        return point, {name: self._distribution(name) for name in point}

    def _random(self, index: int) -> dict[str, Value]:
        draw = np.random.default_rng([self.seed, index])

        def pick(side: Range | tuple[Value, ...]) -> Value:
            share = float(draw.random())
            return side.at(share) if isinstance(side, Range) else side[int(share * len(side))]

        fusion = str(pick(self.space.fusions(self.fusion)))
        return {"fusion": fusion} | {name: pick(self.space.names[name]) for name in self.space.names_for(fusion)}

    def _ask(self, index: int, known: Sequence[FrozenTrial]) -> tuple[dict[str, Value], dict[str, BaseDistribution]]:
        """What TPE suggests after these trials; asked in a study of its own, so that nobody else's trials matter."""
        seed = int(np.random.default_rng([self.seed, index]).integers(2**31))
        own = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        own.add_trials([trial for trial in known if trial.state != TrialState.FAIL])
        trial = own.ask()
        fusion = trial.suggest_categorical("fusion", self.space.fusions(self.fusion))
        for name in self.space.names_for(fusion):
            side = self.space.names[name]
            if not isinstance(side, Range):
                trial.suggest_categorical(name, side)
            elif side.whole:
                trial.suggest_int(name, int(side.low), int(side.high), log=side.log)
            else:
                trial.suggest_float(name, side.low, side.high, log=side.log)
        return dict(trial.params), dict(trial.distributions)

    def _distribution(self, name: str) -> BaseDistribution:
        side = self.space.fusions(self.fusion) if name == "fusion" else self.space.names[name]
        if not isinstance(side, Range):
            return CategoricalDistribution(side)
        if side.whole:
            return IntDistribution(int(side.low), int(side.high), log=side.log)
        return FloatDistribution(side.low, side.high, log=side.log)


def _row(trial: FrozenTrial) -> Row:
    state: Any = trial.state.name.lower()
    values = dict(sorted(trial.intermediate_values.items()))
    return Row(
        trial.user_attrs["index"],
        dict(trial.params),
        state,
        values,
        trial.user_attrs.get("notes", {}),
        trial.number,
        trial._trial_id,
    )


def study_url(text: str) -> str:
    """A database's URL; a plain path is an SQLite file."""
    return text if "://" in text else f"sqlite:///{Path(text).resolve()}"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open a database, or make it. Raises ValueError where that cannot be."""
    lite = url.startswith("sqlite")
    settings: dict[str, Any] = {"connect_args": {"timeout": 120}} if lite else {"pool_pre_ping": True}
    for attempt in range(ATTEMPTS):
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=settings)
            break
        except (SQLAlchemyError, ImportError, ValueError) as error:
            beside = isinstance(error, IntegrityError) or "already exists" in str(error)
            if attempt == ATTEMPTS - 1 or not beside:
                reason = " ".join(str(error).split())[:200]
                raise ValueError(f"--study {url}: not a database that can be opened ({reason})") from error
            time.sleep(0.5 + attempt)  # another process is making the tables
    if lite:
        sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
        storage.engine.dispose()
    return storage


def _write_ahead(connection: Any, record: Any) -> None:
    """Let SQLite write a log beside the file: a commit need not wait for the disk, and a crash still loses nothing."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
