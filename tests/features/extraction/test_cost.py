"""The wall time, no more and no less, is split among the encoders by how long each computes."""

from __future__ import annotations

import pytest

from msa.features.extraction import cost
from msa.features.extraction.cost import CostMeter


def test_wall_time_is_split_by_the_time_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(cost.time, "perf_counter", lambda: now)
    meter = CostMeter()
    now += 4.0  # reading, before anything is computed
    assert meter.take("a") == 0.0
    for encoder, seconds in (("a", 1.0), ("b", 3.0)):
        with meter.computing(encoder):
            now += seconds
    assert meter.take("a") == pytest.approx(2.0)
    now += 1.0  # writing
    with meter.computing("a"):
        now += 1.0
    assert meter.take("a") == pytest.approx(2.0)
    assert meter.take("a") == 0.0
    assert meter.take("b") == pytest.approx(6.0)
