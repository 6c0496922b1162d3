"""Claim: 1, 2 and 4 workers of a Ray cluster on loopback embed, search and score to the same bytes.

    python benchmarks/cluster.py --data DIR [--posts 400] [--trials 24] [--rounds 2]

Each worker is a node of one core. In each round, each number of workers has a cluster of its own, in turns: it extracts
the first half of the posts into an empty cache, searches settings of `concat` on the features of one process, and
scores the other half with one run. Seconds are those of a command on a cluster that stands, start of the workers
(Python and torch) included: on few posts they are mostly that. Same bytes are, of an extraction, each vector in each
store; of a sweep, the leaderboard, the winner and their metrics without times; of a scoring, the file. They are
compared with those of one process, too.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import DATA, check_target

from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction.extract import extract
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.features.store.store import Store, stored_specs
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.scoring.score import score_corpus
from msa.pipeline.sweeps.leaderboard import SweepResult
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep
from msa.pipeline.train_head import train_head

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "shared"))
from clusters import cluster_of

ENCODERS = EncoderRequest(("efficientnet_lite0",), ("minilm",))
WORKERS = 1, 2, 4
JOBS = "extraction", "sweep", "scoring"
TRAINING = TrainConfig(epochs=8, patience=0)
CPU = ExtractSettings(device="cpu")
BLOCK = 64


class Bench:
    """The jobs on one half of some posts and on the other, and what they gave."""

    def __init__(self, folder: Path, corpus: Corpus, trials: int) -> None:
        labelled = [one for one in corpus.samples if one.label is not None]
        half = len(labelled) // 2
        self.known = replace(corpus, samples=labelled[:half])
        self.new = replace(corpus, samples=labelled[half:])
        self.folder, self.trials = folder, trials
        self.reference = folder / "reference"
        extract(self.known, ENCODERS, self.reference, CPU)
        self.data = DataConfig(self.reference, ENCODERS.image, ENCODERS.text, folds=2, device="cpu")
        self.run = train_head(
            self.known, self.data, HeadConfig("concat", hidden=32), TRAINING, runs=folder / "runs"
        ).run

    def extraction(self, place: Path, ray: str | None) -> Callable[[], str]:
        extract(self.known, ENCODERS, place / "cache", CPU, ray=ray)
        return lambda: digest(vectors(place / "cache"))

    def sweep(self, place: Path, ray: str | None) -> Callable[[], str]:
        space = read_space(["lr=1e-4..1e-2", "dropout=0.0..0.5"], fusion="concat", file=None)
        how = Search(trials=self.trials, inner=3, halving=3)
        data = replace(self.data, folds=None)
        found = sweep(self.known, data, space, HeadConfig("concat"), TRAINING, how, runs=place, ray=ray)
        return lambda: digest(json.dumps(line, sort_keys=True, default=str).encode() for line in without_times(found))

    def scoring(self, place: Path, ray: str | None) -> Callable[[], str]:
        shutil.copytree(self.reference, place / "scored")
        out = place / "scores.csv"
        score_corpus(
            self.run, self.new, out, rows="all", ray=ray, block_posts=BLOCK, cache=place / "scored", settings=CPU
        )
        return lambda: digest([out.read_bytes()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--posts", type=int, default=400, help="half of them to extract, half to score")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    corpus = read_corpus(given.data)
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    bytes_of: dict[str, set[str]] = defaultdict(set)
    alone: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), replace(corpus, samples=corpus.samples[: given.posts]), given.trials)
        for count in [0, *WORKERS * given.rounds]:  # 0: this process
            with cluster_of(count) if count else nullcontext() as cluster:
                for job in JOBS:
                    with tempfile.TemporaryDirectory(dir=folder) as place:
                        started = time.perf_counter()
                        written = getattr(bench, job)(Path(place), cluster.address if cluster else None)
                        seconds[job, count].append(time.perf_counter() - started)
                        print(f"{count or 'no'} workers, {job}: {seconds[job, count][-1]:.1f} s", flush=True)
                        if count:
                            bytes_of[job].add(written())
                        else:
                            alone[job] = written()
    print(f"{given.posts} posts, {given.trials} trials, {given.rounds} rounds; medians of seconds")
    for job in JOBS:
        times = {count: statistics.median(seconds[job, count]) for count in (0, *WORKERS)}
        shown = ", ".join(f"{count}: {times[count]:.1f} s ({times[1] / times[count]:.2f} x)" for count in WORKERS)
        same = "yes" if len(bytes_of[job]) == 1 else "no"
        as_one = "yes" if bytes_of[job] == {alone[job]} else "no"
        print(f"{job}: workers {shown}; same bytes: {same}; one process {times[0]:.1f} s, same bytes: {as_one}")
    check_target("jobs with the same bytes", sum(len(found) == 1 for found in bytes_of.values()), len(JOBS))


def vectors(cache: Path) -> Iterator[bytes]:
    """The pooled vector and the tokens of each key of each store, by key."""
    for spec in sorted(stored_specs(cache), key=lambda spec: spec.slug):
        store = Store.open(cache, spec)
        found: dict[bytes, bytes] = {}
        for _, block in store.read(store.keys, tokens=True):
            assert block.tokens is not None
            assert block.offsets is not None
            for at, key in enumerate(block.keys):
                tokens = block.tokens[block.offsets[at] : block.offsets[at + 1]]
                found[bytes(key)] = block.pooled[at].tobytes() + tokens.tobytes()
        yield from (key + value for key, value in sorted(found.items()))


def without_times(found: SweepResult) -> Iterator[Any]:
    """What a sweep wrote, without times."""
    board = csv.DictReader((found.path / "leaderboard.csv").read_text().splitlines())
    yield [{name: value for name, value in line.items() if name != "head_seconds"} for line in board]
    yield [
        (row.index, row.point, row.state, row.values, row.notes.get("losses")) for rows in found.rows for row in rows
    ]
    yield [choice.config() for choice in found.choices], found.outer


def digest(parts: Any) -> str:
    state = hashlib.blake2b()
    for part in parts:
        state.update(part)
    return state.hexdigest()


if __name__ == "__main__":
    main()
