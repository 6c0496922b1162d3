"""What trainings log: functions report it as it happens, and whoever logs takes it; by default nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..training.epochs import TrainedEpoch

Value = str | int | float | bool | None


class Point(NamedTuple):
    """A step of a curve, as an epoch of a fold: its values by name, as `train_loss`."""

    series: str
    step: int
    values: Mapping[str, float]


class Result(NamedTuple):
    """The settings of a training and its final metrics; the command's own has an empty name."""

    name: str
    settings: Mapping[str, Value]
    metrics: Mapping[str, float]


class Folder(NamedTuple):
    """The folder that the results were written to."""

    path: Path


class Note(NamedTuple):
    """A line of text for the user."""

    text: str


Event = Point | Result | Folder | Note
_takers: list[Callable[[Event], None]] = []


@contextmanager
def taking(take: Callable[[Event], None]) -> Iterator[None]:
    """Let `take` have every event inside; it is called from any thread, and must not wait."""
    _takers.append(take)
    try:
        yield
    finally:
        _takers.remove(take)


def log(event: Event) -> None:
    """Report an event."""
    for take in _takers:
        take(event)


def log_epoch(epoch: TrainedEpoch, name: str = "") -> None:
    """Report an epoch of a head of the training of this name, as a step of the curve of its fold."""
    record = epoch.record
    values = {f"{part}_{key}": one for part in ("train", "valid") for key, one in getattr(record, part).items()}
    places = [name, f"fold-{epoch.fold}", f"member-{epoch.member}" if epoch.member else ""]
    log(Point("/".join(filter(None, places)), record.epoch, {**values, "lr": record.lr}))


def flat(**settings: Any) -> dict[str, Value]:
    """Settings, dataclasses of them among these, under one level of names; lists as `a,b`."""
    found: dict[str, Value] = {}
    for name, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            found |= flat(**asdict(value))
        elif isinstance(value, Mapping):
            found |= flat(**{f"{name}.{key}": one for key, one in value.items()})
        elif isinstance(value, list | tuple):
            found[name] = ",".join(map(str, value))
        else:
            found[name] = value if isinstance(value, str | int | float | None) else str(value)
    return found
