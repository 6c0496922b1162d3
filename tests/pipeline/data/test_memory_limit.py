"""What a process takes of its own beside `--memory` does not grow with the features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from msa.features.posts.content import text_key
from msa.features.spec import EncoderSpec
from msa.features.store.store import Store
from msa.features.store.writer import Writer

POSTS, WORDS, WIDTH = 1200, 96, 1280
BYTES = POSTS * WORDS * WIDTH * 2  # 295 MB of tokens
SPEC = EncoderSpec("words", "text", "import", "fake", "sha256:0", "last", "mean", "{}", WIDTH, "float16")
CHILD = """
import json, sys, threading
from pathlib import Path
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.prepare import prepare
from msa.pipeline.evaluation.baselines import baseline_predictions
from msa.pipeline.training.folds import train_folds

def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

def run(posts):
    corpus = Corpus(Path("."), "table", [Sample(f"p{n}", None, f"text {n}", "ab"[n % 2]) for n in range(posts)])
    data = DataConfig(Path(sys.argv[1]), ("none",), ("words",), device="cpu", memory=sys.argv[2])
    head = HeadConfig("text", hidden=8, inputs="tokens", token_width=16)
    table, folds, device = prepare(corpus, data, head, seed=0)
    train_folds(table, folds, head, TrainConfig(epochs=1, batch_size=8), device=device)
    baseline_predictions(table, folds, seed=0)
    return table.storage.mapped

run(40)  # loads what is loaded once
before, peak, done = own(), 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, own())

thread = threading.Thread(target=watch)
thread.start()
mapped = run(int(sys.argv[3]))
done.set()
thread.join()
print(json.dumps({"mapped": mapped, "growth": peak - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell what a process takes")
def test_a_training_takes_no_more_of_its_own_for_more_posts(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(POSTS * 10 + WORDS * WIDTH, np.float32).astype(np.float16)
    writer = Writer(Store.open(tmp_path, SPEC), tokens=True)
    for number in range(POSTS):
        tokens = noise[10 * number :][: WORDS * WIDTH].reshape(WORDS, WIDTH)
        writer.add(text_key(f"text {number}"), tokens.mean(0, dtype=np.float32), tokens)
    writer.flush()

    # One arena and one thread: how the allocator spreads blocks over several moves the peak by 150 MB from run to run.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}

    def growth(memory: str, posts: int) -> int:
        command = [sys.executable, "-c", CHILD, str(tmp_path), memory, str(posts)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        found = json.loads(printed)
        assert found["mapped"] == (memory == "20MB")
        return int(found["growth"])

    few, many = POSTS // 3, POSTS
    in_memory = growth("1GB", many) - growth("1GB", few)
    assert in_memory > BYTES / 2
    peak = growth("20MB", many)
    assert peak < BYTES  # mostly what the principal axes of 1280 columns take
    assert peak - growth("20MB", few) < in_memory / 2
