"""What trials predict for the test rows of the inner folds, kept in the study's own database for a greedy ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
)

LARGEST = 2**32 - 1  # bytes; with a length, MySQL takes its type for large ones

_TABLE = Table(
    "msa_inner_predictions",
    MetaData(),
    Column("study", String(64), primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("probabilities", LargeBinary(LARGEST), nullable=False),
)


class InnerPredictions:
    """The probabilities (n, K) of each complete trial of one study, 4 · n · K bytes each."""

    def __init__(self, engine: Engine, study: str) -> None:
        self.engine, self.study = engine, study
        _TABLE.metadata.create_all(engine)

    def keep(self, trial: int, probabilities: NDArray[np.floating]) -> None:
        """Store those of a trial, in place of what an interrupted process stored."""
        values = {"study": self.study, "trial": trial, "rows": len(probabilities)}
        content = np.ascontiguousarray(probabilities, "<f4").tobytes()
        with self.engine.begin() as connection:
            connection.execute(delete(_TABLE).where(self._of(trial)))
            connection.execute(insert(_TABLE).values(**values, probabilities=content))

    def load(self, trials: Sequence[int]) -> NDArray[np.float32]:
        """Those of some trials (M, n, K)."""
        with self.engine.connect() as connection:
            found = [connection.execute(select(_TABLE).where(self._of(trial))).mappings().one() for trial in trials]
        return np.stack([np.frombuffer(one["probabilities"], "<f4").reshape(one["rows"], -1) for one in found])

    def _of(self, trial: int) -> ColumnElement[bool]:
        return (_TABLE.c.study == self.study) & (_TABLE.c.trial == trial)
