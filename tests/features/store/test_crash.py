"""No kill, no loss of power, no failing disk and no rival run loses, doubles or mixes up a row of the cache."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest

from msa.features.store import parts
from msa.features.store.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def crash() -> ModuleType:
    pytest.importorskip("resource")
    found = spec_from_file_location("crash", Path(__file__).with_name("crash.py"))
    assert found is not None
    assert found.loader is not None
    module = sys.modules["crash"] = module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shared(crash: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with crash.fork_server.ForkServer() as server:
        yield crash.Harness(server, tmp_path_factory.mktemp("crash"), slow=0.004)


@pytest.fixture
def harness(shared: Any) -> Any:
    shared.count.clear()
    return shared


def test_killed_at_any_moment_and_resumed_it_ends_as_if_never_killed(harness: Any) -> None:
    harness.kills(20, random.Random(0))
    assert not harness.wrong
    assert harness.count["kills"] >= 20
    assert harness.count["kills with some rows written"] > 0


def test_without_power_at_any_moment_and_resumed_it_ends_as_if_never_cut_off(harness: Any) -> None:
    harness.power_losses(10, random.Random(0))
    assert not harness.wrong
    assert harness.count["power losses"] == 10


@pytest.mark.parametrize(("code", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_an_operation_that_fails_is_reported_in_one_line_and_costs_no_row(
    harness: Any, code: int, lasting: bool
) -> None:
    for at in random.Random(code).sample(range(10, harness.operations()), 3):
        harness.fault(at, code, lasting=lasting)
    assert not harness.wrong
    assert harness.count["refusals"] == 3


def test_a_disk_that_fills_up_while_hdf5_writes_neither_crashes_nor_costs_a_row(harness: Any) -> None:
    for limit in (0, 1000, 6000):  # bytes
        harness.small_files(limit)
    assert not harness.wrong
    assert harness.count["refusals"] == 3


def test_a_full_disk_is_reported_and_goes_on_when_there_is_room(
    crash: ModuleType, harness: Any, tmp_path: Path
) -> None:
    if not crash.may_mount(tmp_path):
        pytest.skip("needs the right to mount")
    harness.small_disk(40)
    assert not harness.wrong
    assert harness.count["refusals"] == 1


@pytest.mark.parametrize("number", [2, 3])
def test_extracts_at_the_same_time_on_one_cache_end_as_one_would(harness: Any, number: int) -> None:
    rng = random.Random(number)
    harness.rivals(number, rng)
    harness.rivals(number, rng, kill=True)
    assert not harness.wrong


@pytest.mark.parametrize("size", [1, 9, 200])
def test_any_flipped_bit_is_found_before_a_head_trains(crash: ModuleType, tmp_path: Path, size: int) -> None:
    assert crash.unseen_flips(tmp_path, size, 300, random.Random(size)) == 0


def test_a_part_merged_away_while_it_is_opened_is_looked_for_again(
    crash: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash.unseen_flips(tmp_path, 3, 0, random.Random(0))
    (spec,) = crash.fork_server.Fake("text", 0).specs
    real, missing = h5py.File, [FileNotFoundError(errno.ENOENT, "unable to open file")]

    def opened(*given: Any, **options: Any) -> Any:
        if missing:
            raise missing.pop()
        return real(*given, **options)

    monkeypatch.setattr(parts.h5py, "File", opened)
    assert len(Store.open(tmp_path, spec)) == 3


def test_what_was_fsynced_survives_and_nothing_else_is_sure_to(crash: ModuleType, tmp_path: Path) -> None:
    """The disk of the power losses, on the usual three steps: write and fsync, rename, fsync of the folder."""
    root, file = 1, 2
    new = bytes(range(256)) * 8

    def left(*steps: Any) -> set[bytes | None]:
        """What the final name held in a hundred losses of power at the end of the steps."""
        states = set()
        for seed in range(100):
            shutil.rmtree(tmp_path / "disk", ignore_errors=True)
            crash.power.lose_power(list(steps), len(steps) - 1, tmp_path / "disk", random.Random(seed))
            final = tmp_path / "disk" / "final"
            states.add(final.read_bytes() if final.exists() else None)
        return states

    def step(fsynced: int | None, names: dict[str, int]) -> Any:
        return crash.power.Step("", fsynced, {root: names}, {file: new} if names else {}, frozenset())

    start, written, renamed = step(None, {}), step(file, {"temp": file}), step(root, {"final": file})
    end = step(None, {"final": file})
    assert left(start, written, renamed, end) == {new}
    assert left(start, written, end) == {None, new}
    assert left(start, step(None, {"temp": file}), renamed, end) > {new, b"", bytes(len(new))}
