"""What is dealt out to the encoders is the wall time, no more and no less, by how long each computes."""

from __future__ import annotations

import pytest

from msa.features.extraction import cost as clock
from msa.features.extraction.cost import Clock


def test_wall_time_is_dealt_by_the_time_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now)
    one = Clock()
    now += 4.0  # reading, before anything is computed
    assert one.take("a") == 0.0
    for who, seconds in (("a", 1.0), ("b", 3.0)):
        with one.computing(who):
            now += seconds
    assert one.take("a") == pytest.approx(2.0)
    now += 1.0  # writing
    with one.computing("a"):
        now += 1.0
    assert one.take("a") == pytest.approx(2.0)
    assert one.take("a") == 0.0
    assert one.take("b") == pytest.approx(6.0)
