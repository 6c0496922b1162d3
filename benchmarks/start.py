"""Claim: stage two starts on 100,000 files without reading them: under a tenth of the posts' bytes by a second run.

    python benchmarks/start.py [--posts 50000] [--kilobytes 40]

Drawn posts, an image file and a text file each, with embeddings imported under made-up names. Timed in fresh processes,
in turns: joining the posts to their content keys, and the whole of `msa train-head` for one epoch, each with --rehash,
which reads every file as every command once did, and without. Bytes are those of all the process's read calls.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import check_target

WIDTH = 32
RUNS = 2
MEASURE = """
import sys, time
from dataclasses import replace
from pathlib import Path
started = time.perf_counter()
if sys.argv[1] == "join":
    from msa.features.posts.layouts import read_corpus
    from msa.pipeline.data.join import join_posts
    corpus = read_corpus(Path(sys.argv[2]))
    started = time.perf_counter()
    join_posts(replace(corpus, rehash="--rehash" in sys.argv), Path("cache"))
else:
    from msa.cli import run_command
    assert run_command(sys.argv[1:]) == 0
seconds = time.perf_counter() - started
counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
print(seconds, counts["rchar"])
"""
TRAIN = ("--image", "drawn-image", "--text", "drawn-text", "--fusion", "concat", "--inputs", "pooled", "--epochs", "1")


def draw_posts(folder: Path, posts: int, size: int) -> int:
    """Write the posts and import their embeddings; return the bytes of all files."""
    (folder / "data").mkdir()
    noise = os.urandom(size)
    lines, total = ["guid,tag"], 0
    for number in range(posts):
        text = f"the words of post {number}".encode()
        (folder / f"data/{number}.jpg").write_bytes(number.to_bytes(8, "big") + noise)
        (folder / f"data/{number}.txt").write_bytes(text)
        lines.append(f"{number},{('negative', 'neutral', 'positive')[number % 3]}")
        total += 8 + size + len(text)
    (folder / "train.txt").write_text("\n".join(lines))
    (folder / "ids.txt").write_text("\n".join(map(str, range(posts))))
    np.save(folder / "pooled.npy", np.random.default_rng(0).normal(size=(posts, WIDTH)).astype(np.float32))
    time.sleep(3)  # files that were modified just now are not trusted
    for modality in ("image", "text"):
        source = ["--pooled", "pooled.npy", "--ids", "ids.txt", "--name", f"drawn-{modality}", "--modality", modality]
        run = [sys.executable, "-m", "msa.cli", "cache", "import", ".", *source]
        subprocess.run(run, cwd=folder, check=True, capture_output=True)
    return total


def measure(folder: Path, *arguments: str) -> tuple[float, int]:
    """Seconds and bytes read of one fresh process."""
    command = [sys.executable, "-c", MEASURE, *arguments]
    lines = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    seconds, read = lines[-1].split()
    return float(seconds), int(read)


def compare(what: str, folder: Path, total: int, arguments: Callable[[str], Sequence[str]]) -> float:
    """Print the seconds with every file read and with the index; return the posts' bytes over those read with it."""
    found: dict[str, list[tuple[float, int]]] = {"every file read": [], "with the index": []}
    for number in range(RUNS):
        found["every file read"].append(measure(folder, *arguments(f"before-{number}"), "--rehash"))
        found["with the index"].append(measure(folder, *arguments(f"after-{number}")))
    for kind, runs in found.items():
        times = ", ".join(f"{seconds:.1f}" for seconds, _ in runs)
        print(f"{what}, {kind}: {times} s; {runs[-1][1] / 1e6:.1f} MB read")
    before, after = (min(runs)[0] for runs in found.values())
    print(f"{what}: {before / after:.1f} times as fast with the index")
    return total / found["with the index"][-1][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=50_000)
    parser.add_argument("--kilobytes", type=int, default=40, help="size of an image file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        total = draw_posts(folder, given.posts, given.kilobytes * 1000)
        print(f"{2 * given.posts} files, {total / 1e6:.0f} MB")
        share = min(
            compare("joining the posts", folder, total, lambda name: ("join", ".")),
            compare("msa train-head", folder, total, lambda name: ("train-head", ".", *TRAIN, "--name", name)),
        )
    check_target("bytes of the posts over bytes read with the index", share, 10.0)


if __name__ == "__main__":
    main()
