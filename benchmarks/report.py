"""Claim: a report of 4000 posts and 256 trials is under 5 MB, is made in under 20 s on two cores, opens in under 2 s.

    python benchmarks/report.py [--posts 4000] [--trials 256] [--with PATH]

Drawn posts with embeddings imported under made-up names; one head on ten folds and one sweep are trained first, which
is not timed. Or `--with` a folder that holds the runs `head` and `sweep` already. Opening is timed in headless Chromium
where playwright and Chromium are installed: from the request to the end of the load event.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from common import check_target
from start import draw_posts

POOLED = ("--image", "drawn-image", "--text", "drawn-text", "--inputs", "pooled", "--hidden", "16", "--epochs", "20")
SPACE = ("--set", "lr=1e-4..1e-2", "--set", "dropout=0.1..0.5", "--set", "hidden=8,16", "--set", "batch_size=64,128")
BYTES, SECONDS, OPENS = 5e6, 20.0, 2.0


def msa(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run a command in a process of its own; return its seconds of wall time and of CPU time."""
    started, before = time.perf_counter(), sum(getrusage(RUSAGE_CHILDREN)[:2])
    subprocess.run([sys.executable, "-m", "msa.cli", *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started, sum(getrusage(RUSAGE_CHILDREN)[:2]) - before


def open_page(page: Path) -> float | None:
    """The seconds until the page is loaded; None where no browser is installed."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if program is None:
        return None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        window = browser.new_page()
        window.goto(page.resolve().as_uri())
        loaded = window.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        browser.close()
    return float(loaded) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=4000)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--with", dest="runs", type=Path, help="folder of the runs `head` and `sweep`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = given.runs.resolve() if given.runs else folder / "runs"
        if not given.runs:
            draw_posts(folder, given.posts, 1000)
            msa(folder, "train-head", ".", *POOLED, "--fusion", "gated", "--folds", "10", "--name", "head")
            search = "--fusion", "gated,concat", *SPACE, "--trials", str(given.trials), "--name", "sweep"
            msa(folder, "sweep", ".", *POOLED, *search)
        page = folder / "all.html"
        ratios = []
        for what in (["head"], ["sweep"], ["head", "sweep"]):
            seconds, cpu = msa(folder, "report", *(str(runs / one) for one in what), "--out", str(page))
            size, opened = page.stat().st_size, open_page(page)
            shown = "no browser" if opened is None else f"opens in {opened:.2f} s"
            print(f"{' and '.join(what)}: {seconds:.1f} s ({cpu:.1f} s of CPU), {size / 1e6:.2f} MB, {shown}")
            ratios += [BYTES / size, SECONDS / seconds, OPENS / (opened or OPENS)]
    check_target("limit over what was measured, smallest of all", min(ratios), 1.0)


if __name__ == "__main__":
    main()
