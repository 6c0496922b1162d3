"""Claim: extracting 4511 posts that are already cached takes under 3 s, and `msa --help` under 0.3 s.

    python benchmarks/idle.py --data DIR --cache DIR

Extract once before. The ratio is the worse of limit / measured, each the median of five runs of the real command.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from common import check_target, options

LIMITS = {"--help": 0.3, "extract": 3.0}
RUNS = 5


def seconds(arguments: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "msa.cli", *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def main() -> None:
    given = options(__doc__)
    extract = ["extract", str(given.data), "--cache", str(given.cache), "--json"]
    report = json.loads(seconds(extract)[1])
    again = json.loads(seconds(extract)[1])
    assert all(encoder["encoded"] == 0 for encoder in again["encoders"]), "the second run encoded something"
    ratios = []
    for name, arguments in (("--help", ["--help"]), ("extract", extract)):
        times = [seconds(arguments)[0] for _ in range(RUNS)]
        middle = statistics.median(times)
        print(f"{name}: {middle:.2f} s (lowest {min(times):.2f}, highest {max(times):.2f}), limit {LIMITS[name]} s")
        ratios.append(LIMITS[name] / middle)
    print(f"posts: {report['rows']}")
    check_target("limit over measured", min(ratios), 1.0)


if __name__ == "__main__":
    main()
