"""What all tests of sweeps share."""

from __future__ import annotations

import pytest

from msa.pipeline.fused import step_replay


@pytest.fixture(autouse=True)
def unrecorded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording steps takes longer than the few of a small sweep; that a recording changes nothing has its own test."""
    monkeypatch.setattr(step_replay, "AFTER", 10**6)
