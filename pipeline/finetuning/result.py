"""What fine-tuning has made: the folders of encoders, how they were trained, and the report of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ...features.encoders.tuned import RECORD, WEIGHTS, TunedRecord, is_tuned, read_record
from ...features.messages import notify
from ...features.spec import Modality
from ...features.store.durable import new_folder, write_atomic
from ...features.store.json_files import read_json, write_json
from ...features.text_table import Part, Report, Table
from ..metrics.tables import metric_title
from .cost import TuningCost
from .request import TuneRequest
from .tune import TunedWeights

COLUMNS = ("loss", "accuracy", "macro_f1")
TRAINING = "training.json"


@dataclass(frozen=True)
class TunedFold:
    """The encoders that were tuned on one fold: their folders, their records, and the figures of their training."""

    folders: Mapping[Modality, Path]
    records: Mapping[Modality, TunedRecord]
    training: Mapping[str, Any]

    @property
    def record(self) -> TunedRecord:
        """The record of the first encoder: all have seen the same rows."""
        return next(iter(self.records.values()))

    @property
    def best(self) -> Mapping[str, float]:
        """The figures of the best epoch on the validation rows."""
        best: Mapping[str, float] = self.training["history"][self.training["best_epoch"] - 1]
        return best

    def to_dict(self) -> dict[str, Any]:
        """One entry of `--json`."""
        shared = {name: getattr(self.record, name) for name in ("split", "folds", "fold", "seed", "classes")}
        encoders = {
            modality: {"folder": str(self.folders[modality]), "base": record.base}
            for modality, record in self.records.items()
        }
        return {"encoders": encoders, **shared, **self.training}


@dataclass(frozen=True)
class Finetuned(Report):
    """Tuned encoders in the folder `out`, by fold. `cost` is what was expected; None where nothing was left to do."""

    out: Path
    folds: Sequence[TunedFold]
    cost: TuningCost | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        cost = self.cost.to_dict() if self.cost else None
        return {
            "out": str(self.out),
            "folds": [one.to_dict() for one in self.folds],
            "cost": cost,
            "seconds": self.seconds,
        }

    def parts(self) -> list[Part]:
        """The table that the command prints, and what to do next."""
        first, table = self.folds[0], self._epochs() if len(self.folds) == 1 else self._folds()
        bases = " and ".join(record.base for record in first.records.values())
        where = first.record.where if len(self.folds) == 1 else f"each fold of stored split {first.record.split}"
        names = " ".join(f"--{modality} {self.out}" for modality in first.records)
        rows = sum(one.training["rows"] for one in self.folds)
        lines = [f"{bases} tuned on {rows} rows of {where}, {self.seconds:.0f} s", f"next: msa extract {names}"]
        if unreadable := sum(one.training["unreadable"] for one in self.folds):
            lines.insert(
                1, f"{unreadable} images and texts could not be read and were left out; `msa check` names them"
            )
        if len(self.folds) > 1:
            lines.append(f"then: msa train-head {names} --folds {first.record.folds} --inputs pooled")
        return [table, "\n".join(lines)]

    def _epochs(self) -> Table:
        best = self.folds[0].training["best_epoch"]
        lines = [
            [f"{number}{' *' * (number == best)}", *(f"{epoch[name]:.3f}" for name in COLUMNS)]
            for number, epoch in enumerate(self.folds[0].training["history"], 1)
        ]
        title = "Validation rows by epoch (* the best, which is kept)"
        return Table(["epoch", *map(metric_title, COLUMNS)], lines, title, [best - 1])

    def _folds(self) -> Table:
        lines = [
            [one.record.fold, one.training["best_epoch"], *(f"{one.best[name]:.3f}" for name in COLUMNS)]
            for one in self.folds
        ]
        return Table(["fold", "epoch", *map(metric_title, COLUMNS)], lines, "Validation rows at the best epoch")


def write_fold(
    out: Path, request: TuneRequest, records: Mapping[Modality, TunedRecord], tuned: TunedWeights
) -> TunedFold:
    """Write the folder of each encoder of a fold; each appears whole or not at all."""
    training = {name: value for name, value in vars(tuned).items() if name != "weights"}
    folders = {modality: request.folder(out, modality, record.fold) for modality, record in records.items()}
    with ExitStack() as written:
        for modality, record in records.items():
            temp = written.enter_context(new_folder(folders[modality]))
            own = {name: tensor.cpu().contiguous() for name, tensor in tuned.weights[modality].items()}
            write_atomic(temp / WEIGHTS, save(own))
            write_json(temp / TRAINING, request.to_dict() | training)
            write_atomic(temp / RECORD, record.to_json().encode())
    return TunedFold(folders, records, training)


def read_fold(out: Path, request: TuneRequest, records: Mapping[Modality, TunedRecord]) -> TunedFold | None:
    """A fold that the same request wrote before it was interrupted; None where it is not there whole.

    Raises ValueError where another request wrote it.
    """
    folders = {modality: request.folder(out, modality, record.fold) for modality, record in records.items()}
    if out in folders.values() or not all(map(is_tuned, folders.values())):
        return None
    asked = json.loads(json.dumps(request.to_dict()))
    for modality, folder in folders.items():
        stored = read_json(folder / TRAINING, "how an encoder was tuned", "delete its folder")
        if read_record(folder) != records[modality] or any(stored[name] != value for name, value in asked.items()):
            raise ValueError(f"{folder} was tuned on other rows or in another way; give another folder to --out")
    notify(f"{folder.parent} has fold {records[modality].fold} already")
    figures = {name: value for name, value in stored.items() if name in TunedWeights.__dataclass_fields__}
    return TunedFold(folders, records, figures)
