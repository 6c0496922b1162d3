"""Claim: a store of a million rows opens, and joins a million ids to their vectors, in under 10 s; time grows as posts.

    python benchmarks/million.py [--rows 1000000] [--width 64] [--posts 1000000] [--folder DIR]

Synthetic vectors, written as an extraction would write them. Timed: opening the store in a fresh process, finding the
keys in shuffled order, and reading the vectors into one array in that order. The ratio last is 10 s over the median.

With `--posts`, a tenth of so many posts (Parquet) and all of them, with two patches of 1280 and about two words of 384
columns each, are read, joined, trained on for one epoch and scored, with `--memory` for a part of them; printed are the
time and the most own memory of each, and how much more ten times the posts take.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import check_target
from measured_process import measure
from synthetic_store import write_features, write_posts

from msa.features.spec import EncoderSpec
from msa.features.store.parts import KEY, EmbeddingBlock, write_part
from msa.features.store.store import Store

LIMIT = 10.0
RUNS = 3
PARTS = 8
MEMORY = "200MB"
JOIN = """
import sys, time
from pathlib import Path
import numpy as np
from msa.features.spec import EncoderSpec
from msa.features.store.store import Store
spec = EncoderSpec.from_json(sys.argv[2])
keys = [f"{number:032x}" for number in np.random.default_rng(1).permutation(int(sys.argv[3]))]
started = time.perf_counter()
store = Store.open(Path(sys.argv[1]), spec)
opened = time.perf_counter()
assert store.find(keys).all()
vectors = np.empty((len(keys), spec.width), np.float32)
for positions, rows in store.read(keys, tokens=False):
    vectors[positions] = rows.pooled
ended = time.perf_counter()
assert (vectors[:, 0] == [int(key, 16) for key in keys]).all()
print(opened - started, ended - opened)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--posts", type=int, default=0, help="also train on so many; 0: none")
    parser.add_argument("--folder", type=Path, help="where to put them; the temporary directory if left out")
    given = parser.parse_args()
    if given.posts:
        few, many = (train(count, given.folder) for count in (given.posts // 10, given.posts))
        print(f"ten times the posts: {', '.join(f'{step} x{many[step] / few[step]:.1f}' for step in few)}", flush=True)
    spec = EncoderSpec(
        "synthetic", "text", "transformers", "none", "sha256:0", "last", "mean", "{}", given.width, "float32"
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), spec)
        for numbers in np.array_split(np.arange(given.rows), PARTS):
            vectors = np.zeros((len(numbers), given.width), np.float32)
            vectors[:, 0] = numbers
            rows = EmbeddingBlock(np.array([f"{number:032x}".encode() for number in numbers], KEY), vectors)
            write_part(store.folder, spec, iter([rows]), rows=len(numbers), token_rows=None)
        times = []
        for _ in range(RUNS):
            command = [sys.executable, "-c", JOIN, folder, spec.to_json(), str(given.rows)]
            opened, joined = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
            print(f"{given.rows} rows in {PARTS} parts: opened in {opened:.2f} s, joined in {joined:.2f} s")
            times.append(opened + joined)
    check_target("10 s over the median", LIMIT / statistics.median(times), 1.0)


def train(posts: int, folder: Path | None) -> dict[str, float]:
    """Read, join, train and score synthetic posts: seconds of each step, and the most own memory (GB) of a process."""
    script = str(Path(__file__).with_name("mapped_epoch.py"))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        home = Path(name)
        table, cache = write_posts(home, posts), home / "cache"
        write_features(cache, posts, patches=2, words=2)
        trained = measure([script, str(table), str(cache), MEMORY])
        took = json.loads(trained.output)
        given = [str(table), "--image", "synthetic-image", "--text", "synthetic-text", "--cache", str(cache)]
        run = ["--runs", str(home), "--name", "run", "--epochs", "1", "--fusion", "gated", "--device", "cpu"]
        headed = measure(["-m", "msa.cli", "train-head", *given, *run, "--memory", MEMORY])
        scores = ["--cache", str(cache), "--out", str(home / "scores.csv")]
        scored = measure(["-m", "msa.cli", "predict", str(home / "run"), str(table), *scores])
    steps = {step: took[step] for step in ("read", "join", "epoch")}
    steps |= {"train-head": headed.seconds, "predict": scored.seconds}
    steps |= {"memory": trained.peak, "memory of train-head": headed.peak, "memory of predict": scored.peak}
    print(f"{posts} posts: {', '.join(f'{step} {value:.2f}' for step, value in steps.items())}", flush=True)
    return steps


if __name__ == "__main__":
    main()
