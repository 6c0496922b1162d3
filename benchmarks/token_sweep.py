"""Claim: a sweep of heads on tokens takes less than 2 GB on 4500 posts; it took 6.3 GB when each fold was padded.

    python benchmarks/token_sweep.py --data DIR --cache DIR

`msa sweep` runs in a process of its own: four settings of the attention head on five inner folds, for one epoch, as
memory is highest while inputs are built and heads are trained beside. The cache has the tokens of efficientnet_lite0
and minilm. The ratio last is 2 GB over the peak of the resident memory, that of Python and torch included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from common import check_target, options

LIMIT = 2.0  # GB
SETTINGS = ("--fusion", "attention", "--set", "lr=3e-4,1e-3", "--set", "dropout=0.3,0.5", "--epochs", "1")


def main() -> None:
    given = options(__doc__)
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "msa.cli", "sweep", str(given.data), "--cache", str(given.cache), *SETTINGS]
        started = time.perf_counter()
        child = subprocess.Popen([*command, "--runs", runs], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"msa sweep ended with status {status}; run `msa extract` first")
    gigabytes, processor = usage.ru_maxrss / 1e6, usage.ru_utime + usage.ru_stime
    wall = time.perf_counter() - started
    print(f"20 heads on tokens, one epoch each: peak {gigabytes:.2f} GB resident, {processor:.0f} s CPU, {wall:.0f} s")
    check_target("2 GB over the peak", LIMIT / gigabytes, 1.0)


if __name__ == "__main__":
    main()
