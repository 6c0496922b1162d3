"""Inner predictions in a database: by study and trial, exact, replaced by a later store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sqlalchemy

from msa.pipeline.sweeps.inner_predictions import InnerPredictions


def test_predictions_are_kept_by_study_and_trial(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'study.db'}")
    one, other = (InnerPredictions(engine, name) for name in ("one", "other"))
    draw = np.random.default_rng(0)
    first, second, third = (draw.random((5, 3)).astype(np.float32) for _ in range(3))
    one.keep(0, second)
    one.keep(0, first)  # by a process that was interrupted after it stored them
    one.keep(7, second)
    other.keep(0, third)
    assert np.array_equal(one.load([7, 0]), np.stack([second, first]))
    assert np.array_equal(other.load([0]), third[None])
