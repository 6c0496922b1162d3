"""Claim: a store of more than memory is trained on, evaluated and scored within 4 GB, as accurately as in memory.

    python benchmarks/beyond_memory.py [--gb 20] [--limit 4] [--folder DIR] [--subset 8000]

Synthetic posts (Parquet) with pooled vectors and tokens of 1280 and 384 columns in float16, 49 patches, 1 to 39 words,
three classes that a head can learn. Each command runs in a process of its own that the kernel keeps below 4 GB of its
own memory (RLIMIT_DATA), with `--memory 1GB`, a quarter of it. Files are read from the disk, not from the page cache,
where the system lets a program say so. The joined copy takes as much disk as the store, and reduced tokens an eighth:
2.2 times `--gb` are needed. The ratio last is the accuracy on the subset over that in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from common import check_target
from measured_process import Measured, measure
from synthetic_store import write_features, write_posts

POST_BYTES = 49 * 1280 * 2 + 1280 * 4 + 20 * 384 * 2 + 384 * 4
HEAD = ("--fusion", "attention", "--inputs", "tokens", "--patches", "none", "--token-width", "64", "--epochs", "2")
READ_BLOCK = 16 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=20.0, help="size of the store")
    parser.add_argument("--limit", type=float, default=4.0, help="GB that a process may take; features: a quarter")
    parser.add_argument("--folder", type=Path, help="where to put it; the temporary directory if left out")
    parser.add_argument("--subset", type=int, default=8000, help="posts that are also trained on in memory")
    given = parser.parse_args()
    posts = int(given.gb * 1e9 / POST_BYTES)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        home = Path(folder)
        cache = home / "cache"
        started = time.perf_counter()
        table, size = write_posts(home, posts), write_features(cache, posts)
        print(
            f"store: {posts} posts, {size / 1e9:.1f} GB, written in {time.perf_counter() - started:.0f} s", flush=True
        )
        plain = read_plainly(sorted(cache.rglob("part-*.h5")))
        print(f"plain sequential read of it: {plain:.0f} s, {size / plain / 1e6:.0f} MB/s", flush=True)
        check_target(
            "accuracy on the subset over that in memory",
            run(home, table, cache, given.subset, plain / size, given.limit),
            0.98,
        )


def run(home: Path, table: Path, cache: Path, subset: int, plain: float, limit: float) -> float:
    """Run the commands and print what they took; the ratio of the accuracies on a subset. `plain`: seconds a byte."""
    encoders = ["--image", "synthetic-image", "--text", "synthetic-text", "--cache", str(cache), "--device", "cpu"]
    runs, memory = ["--runs", str(home / "runs")], f"{limit / 4}GB"

    def msa(name: str, *command: str) -> Measured:
        found = measure(["-m", "msa.cli", *command], limit=None if "in memory" in name else limit)
        show(name, found)
        return found

    def train(name: str, *options: str) -> float:
        command = ["train-head", str(table), *encoders, *HEAD, *runs, "--name", name, "--json", *options]
        found = msa(name, *command)
        return float(json.loads(found.output)["metrics"]["accuracy"]["mean"])

    script = str(Path(__file__).with_name("mapped_epoch.py"))
    found = measure([script, str(table), str(cache), memory], limit=limit)
    show("join, reduce, one epoch", found)
    took = json.loads(found.output)
    seconds, size = took["epoch without a head"], took["bytes"]
    print(f"  joined in {took['join']:.0f} s, reduced in {took['reduce']:.0f} s, trained in {took['epoch']:.0f} s")
    print(f"  read without a head: {took['rows'] / seconds:.0f} rows/s, {size / seconds / 1e6:.0f} MB/s, ", end="")
    print(f"{plain * size / seconds:.2f} of the speed of a plain sequential read", flush=True)
    drop(cache)
    accuracy = train("all", "--memory", memory)
    msa("evaluate", "evaluate", str(home / "runs" / "all"), str(table), "--cache", str(cache), "--memory", "1GB")
    scores = home / "scores.csv"
    scored = msa(
        "predict",
        "predict",
        str(home / "runs" / "all"),
        str(table),
        "--cache",
        str(cache),
        "--out",
        str(scores),
    )
    lines = sum(1 for _ in scores.open()) - 1
    print(f"  {lines} posts scored, {lines / scored.seconds:.0f} rows/s", flush=True)
    few = ["--limit", str(subset)]
    inside = train("subset in memory", *few, "--memory", "20GB")
    beyond = train("subset beyond memory", *few, "--memory", "100MB")
    print(f"accuracy: {accuracy:.4f} on all posts, on {subset} {inside:.4f} in memory, {beyond:.4f} beyond it")
    return beyond / inside


def show(name: str, found: Measured) -> None:
    print(f"{name}: {found.seconds:.0f} s, peak {found.peak:.2f} GB", flush=True)


def read_plainly(files: list[Path]) -> float:
    """Seconds that reading these files from the disk in sequence takes."""
    for path in files:
        _drop(path)
    started = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BLOCK):
                pass
    return time.perf_counter() - started


def drop(folder: Path) -> None:
    """Let the system forget what it holds of the files in a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            _drop(path)


def _drop(path: Path) -> None:
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
