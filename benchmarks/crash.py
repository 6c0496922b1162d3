"""Claim: no kill, no loss of power, no failing disk and no rival run loses, doubles or mixes up a row of the cache.

    python benchmarks/crash.py

Real extracts of drawn posts by fake encoders, in the harness that `tests/features/store/test_crash.py` runs in part.
Every trial is resumed and compared with an uninterrupted run, row by row and byte by byte. The ratio is of the trials
without any fault.
"""

from __future__ import annotations

import errno
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from common import check_target

HARNESS = Path(__file__).resolve().parents[1] / "tests" / "features" / "store" / "crash.py"
KILLS, LOSSES, RIVALS, FLIPS = 300, 100, 10, 1000

found = spec_from_file_location("crash", HARNESS)
assert found is not None
assert found.loader is not None
crash = sys.modules["crash"] = module_from_spec(found)
found.loader.exec_module(crash)


def main() -> None:
    rng = random.Random(0)
    trials = bad = 0

    def report(name: str, done: int, faults: Counter[str]) -> None:
        nonlocal trials, bad
        trials += done
        bad += min(done, faults.total())
        counts = ", ".join(f"{faults[wrong]} {wrong}" for wrong in crash.WRONG)
        print(f"{name}: {done}; {counts}", flush=True)

    def trial(name: str, harness: crash.Harness, calls: list[Callable[[], None]]) -> None:
        harness.count.clear()
        for call in calls:
            call()
        stages = {stage: count for stage, count in sorted(harness.count.items()) if stage.startswith("kills with")}
        done = harness.count["kills"] or harness.count["power losses"] or len(calls)
        report(name, done, Counter(harness.wrong))
        for stage, count in stages.items():
            print(f"  {stage}: {count}")

    with tempfile.TemporaryDirectory() as folder, crash.fork_server.ForkServer() as server:
        whole = crash.Harness(server, Path(folder, "whole"), slow=0.004)
        print(f"rows: {len(whole.expected)} in {len(whole.complaints)} stores; {whole.seconds:.2f} s uninterrupted")
        trial("random SIGKILLs", whole, [lambda: whole.kills(KILLS, rng)])
        trial("losses of power", whole, [lambda: whole.power_losses(LOSSES, rng)])
        for number in (2, 3):
            calls = [lambda n=number, k=kill: whole.rivals(n, rng, kill=k) for kill in (False, True) * (RIVALS // 2)]
            trial(f"{number} extracts on one cache, in half of the trials one killed", whole, calls)
        small = crash.Harness(server, Path(folder, "small"), count=20)
        operations = range(1, small.operations() + 1)
        for code, lasting, name in ((errno.ENOSPC, True, "disk full from"), (errno.EIO, False, "I/O error at")):
            calls = [lambda a=at, c=code, t=lasting: small.fault(a, c, lasting=t) for at in operations]
            trial(f"{name} each of {len(operations)} operations", small, calls)
        trial("files limited in size", small, [lambda n=size: small.small_files(n) for size in range(0, 12_000, 400)])
        if crash.may_mount(Path(folder)):
            trial("disks of 4 to 64 KB", small, [lambda n=size: small.small_disk(n) for size in range(4, 65, 4)])
    for size in (1, 30, 1000):
        with tempfile.TemporaryDirectory() as folder:
            unseen = crash.unseen_flips(Path(folder), size, FLIPS, rng)
        report(f"flipped bits in a part of {size} rows, {unseen} unseen", FLIPS, Counter(misaligned=unseen))
    print(f"trials: {trials}")
    check_target("trials with nothing wrong", 1 - bad / trials, 1.0)


if __name__ == "__main__":
    main()
