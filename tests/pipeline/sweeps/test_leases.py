"""Each batch has one owner; that of a dead process is free, even where another process has its number now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from msa.pipeline.sweeps import leases
from msa.pipeline.sweeps.leases import LeaseError, Leases


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def open_leases(database: str, count: int = 1) -> Leases:
    return Leases(create_engine(database), "study", count)


def test_no_batch_is_claimed_twice_and_a_finished_one_never_again(database: str) -> None:
    ours, theirs = open_leases(database, 2), open_leases(database, 2)
    first, second = ours.claim(), theirs.claim()
    assert {first, second} == {0, 1}
    for one, batch in ((ours, first), (theirs, second)):
        assert batch is not None
        with one.holding(batch):
            pass
    assert ours.claim() is None


def test_a_batch_that_failed_is_free_again(database: str) -> None:
    ours = open_leases(database)
    with pytest.raises(RuntimeError, match="boom"), ours.holding(ours.claim() or 0):
        raise RuntimeError("boom")
    assert open_leases(database).claim() == 0


def test_a_batch_of_a_process_that_has_ended_is_free(database: str) -> None:
    code = (
        "import sys; from sqlalchemy import create_engine; from msa.pipeline.sweeps.leases import Leases;"
        "print(Leases(create_engine(sys.argv[1]), 'study', 1).claim())"
    )
    assert subprocess.run([sys.executable, "-c", code, database], capture_output=True, check=True).stdout == b"0\n"
    assert open_leases(database).claim() == 0


def test_another_process_with_the_number_of_the_dead_owner_keeps_no_batch(database: str) -> None:
    dead = open_leases(database)
    machine, pid, started, nonce = dead.owner.rsplit(" ", 3)
    assert int(pid) == os.getpid()
    dead.owner = f"{machine} {pid} {float(started) - 3600:.2f} {nonce}"
    assert dead.claim() == 0
    assert open_leases(database).claim() == 0


def test_the_batch_of_a_living_process_is_not_taken(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_leases(database).claim() == 0

    def stop(seconds: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(leases.time, "sleep", stop)
    with pytest.raises(TimeoutError):
        open_leases(database).claim()


def test_a_batch_that_another_process_took_over_is_given_up(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    ours = open_leases(database)
    batch = ours.claim()
    assert batch == 0

    def lose() -> None:
        with ours.holding(0):
            ours._change(0, ours.owner, owner="another")
            assert ours.lost.wait(10)

    with pytest.raises(LeaseError, match="another process took over"):
        lose()
