"""The trials of a sweep: drawn by grid, at random or by TPE, kept in Optuna's storage as they run."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...features.store.json_files import check_format
from ..config.search_config import Search
from .inner_predictions import InnerPredictions
from .leases import LeaseError, Leases
from .space import Range, Space, Value, Values

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
FORMAT = 1  # of what a study stores beside Optuna's own fields
ATTEMPTS = 5  # at opening a database that others are opening, too
LOCK_SECONDS = 10.0  # that an SQLite file may be locked for when it is opened; other sweeps hold it for milliseconds
BUSY_SECONDS = 30.0  # the same while trials run


@dataclass
class TrialRow:
    """One trial as it is stored: the point of the space, its state, and its values at the rungs (epochs to value).

    `index` is its number in the sweep, from 0, which decides its point; `id` is its key in Optuna's database.
    """

    index: int
    id: int
    point: dict[str, Value]
    state: Literal["running", "complete", "pruned", "fail"]
    values: dict[int, float]
    notes: dict[str, Any]

    @property
    def epochs(self) -> int:
        """The last rung that it reached; 0 before the first."""
        return max(self.values, default=0)

    @property
    def value(self) -> float | None:
        """Its value at that rung."""
        return self.values.get(self.epochs)

    @property
    def order(self) -> tuple[bool, int, float, int]:
        """Sorts trials, best first: those that trained longer come before those that were pruned; failed ones last."""
        return self.state == "fail", -self.epochs, -(self.value or 0.0), self.index


class Study:
    """The trials of a search, in batches; a batch belongs to one process at a time.

    A trial is drawn from (seed, its index), by TPE also from what ended in earlier batches, so that neither an
    interruption nor other processes change what is tried.
    """

    def __init__(self, url: str, name: str, space: Space, *, fusion: str, search: Search, seed: int) -> None:
        self.space, self.fusion, self.search, self.seed = space, fusion, search, seed
        self.points = space.grid(fusion) if search.sampler == "grid" else []
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
        self.leases = Leases(self.storage.engine, name, -(-search.trials // search.batch))
        self.predictions = InnerPredictions(self.storage.engine, name) if search.ensemble == "greedy" else None

    def rows(self) -> list[TrialRow]:
        """Every trial so far, in order."""
        return sorted(map(_row, self._stored()), key=lambda row: row.index)

    def open_batch(self, batch: int) -> list[TrialRow]:
        """The trials of a batch: those that are there already, as they were left, and the others, drawn now."""
        stored = {trial.user_attrs["index"]: trial for trial in self._stored()}
        start = batch * self.search.batch
        indices = range(start, min(start + self.search.batch, self.search.trials))
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

    def report(self, row: TrialRow, epochs: int, value: float, notes: Mapping[str, Any]) -> None:
        """Keep a trial's value at a rung, and what else is known of it by then."""
        self.leases.check()
        trial = Trial(self.study, row.id)
        trial.set_user_attr("notes", dict(notes))
        trial.report(value, epochs)
        row.values[epochs] = value

    def end(self, row: TrialRow, state: Literal["complete", "pruned", "fail"], error: str = "") -> None:
        """Keep that a trial is over; one that is complete has its last rung's value."""
        self.leases.check()
        trial = Trial(self.study, row.id)
        if error:
            trial.set_user_attr("notes", {"error": error})
        self.study.tell(trial, row.value if state == "complete" else None, state=TrialState[state.upper()])
        row.state = state

    def _stored(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if "index" in trial.user_attrs]

    def _draw(self, index: int, known: Sequence[FrozenTrial]) -> tuple[dict[str, Value], dict[str, BaseDistribution]]:
        """A trial's point, and what it was drawn from. TPE suggests it from the `known` trials, and from no others."""
        trial: Trial | FixedTrial
        if self.search.sampler == "tpe":
            seed = int(np.random.default_rng([self.seed, index]).integers(2**31))
            own = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
            own.add_trials([trial for trial in known if trial.state != TrialState.FAIL])
            trial = own.ask()
        else:
            trial = FixedTrial(self.points[index] if self.search.sampler == "grid" else self._random(index))
        return suggest(trial, self.space, self.fusion)

    def _random(self, index: int) -> dict[str, Value]:
        draw = np.random.default_rng([self.seed, index])

        def pick(values: Values) -> Value:
            share = float(draw.random())
            return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]

        fusion = str(pick(self.space.fusions(self.fusion)))
        return {"fusion": fusion} | {name: pick(self.space.names[name]) for name in self.space.names_for(fusion)}


def suggest(
    trial: Trial | FixedTrial, space: Space, fusion: str
) -> tuple[dict[str, Value], dict[str, BaseDistribution]]:
    """A trial's point of the space, and what it is drawn from; `fusion` is the head where the space varies none."""
    fusion = trial.suggest_categorical("fusion", space.fusions(fusion))
    for name in space.names_for(fusion):
        values = space.names[name]
        if not isinstance(values, Range):
            trial.suggest_categorical(name, values)
        elif values.whole:
            trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)
    return dict(trial.params), dict(trial.distributions)


def _row(trial: FrozenTrial) -> TrialRow:
    attributes, state = trial.user_attrs, trial.state.name.lower()
    values = dict(sorted(trial.intermediate_values.items()))
    notes = attributes.get("notes", {})
    return TrialRow(attributes["index"], trial._trial_id, dict(trial.params), state, values, notes)  # type: ignore[arg-type]


def study_url(text: str) -> str:
    """A database's URL; a plain path is an SQLite file."""
    return text if "://" in text else f"sqlite:///{Path(text).resolve()}"


@contextmanager
def study_errors(url: str) -> Iterator[None]:
    """Turn an error of the database, or the loss of a batch to another process, into a ValueError with its name."""
    try:
        yield
    except LeaseError as error:
        raise ValueError(f"--study {url}: {error}") from error
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise ValueError(
            f"--study {url}: the database failed ({reason}); what was stored stays: see that it can be reached and is "
            "not locked by another program, then run the same command again"
        ) from error


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open a database, or make it. Raises ValueError where that cannot be."""
    lite = url.startswith("sqlite")
    settings: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}} if lite else {"pool_pre_ping": True}
    if lite:
        _refuse_locked(url)
    for attempt in range(ATTEMPTS):
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=settings)
            break
        except (SQLAlchemyError, ImportError, ValueError) as error:
            beside = isinstance(error, IntegrityError) or "already exists" in str(error)
            if attempt == ATTEMPTS - 1 or not beside:
                reason = " ".join(str(error).partition("(Background")[0].split())[:200]
                raise ValueError(
                    f"--study {url}: not a database that can be opened ({reason}); give a file in a folder that is "
                    "there, or the URL of a database"
                ) from error
            time.sleep(0.5 + attempt)  # another process is making the tables
    if lite:
        sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
        storage.engine.dispose()
    return storage


def _refuse_locked(url: str) -> None:
    """Raise ValueError where another program holds the lock of an SQLite file."""
    path = Path(sqlalchemy.make_url(url).database or "")
    if not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"--study {path}: cannot be written for {LOCK_SECONDS:g} s ({error}); close the program that has it "
                "open, or give another file"
            ) from error
        except sqlite3.DatabaseError:  # which `open_storage` explains
            return


def _write_ahead(connection: Any, record: Any) -> None:
    """Let SQLite write a log beside the file: a commit need not wait for the disk, and a crash still loses nothing."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
