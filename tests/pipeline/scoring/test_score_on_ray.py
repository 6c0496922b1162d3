"""A cluster that embeds the posts gives the file of a single process."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import two_nodes, workers
from tiny_models import write_bert

from msa.features.encoders.sources import EncoderRequest
from msa.features.extraction.extract import extract
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.scoring.score import score_corpus
from msa.pipeline.train_head import train_head

WORDS = ["what", "a", "lovely", "day"]
CPU = ExtractSettings(device="cpu", runtime="torch", batch_tokens=64)


def texts(count: int, first: int = 0) -> list[str]:
    return [" ".join(WORDS[(n >> shift) % 4] for shift in (0, 2, 4, 6)) + f" {n}" for n in range(first, first + count)]


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_file_of_one_process(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    bert = write_bert(tmp_path / "bert")
    known = Corpus(tmp_path, "table", [Sample(f"k{n}", None, text, "ab"[n % 2]) for n, text in enumerate(texts(40))])
    extract(known, EncoderRequest((), (str(bert),)), cache, CPU)
    data = DataConfig(cache, ("none",), (str(bert),), folds=2, device="cpu")
    run = train_head(known, data, HeadConfig("text", hidden=8), TrainConfig(epochs=2), runs=tmp_path / "runs").run
    posts = Corpus(tmp_path, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(texts(400, first=100))])
    alone = score_corpus(run, posts, tmp_path / "alone.csv", block_posts=150, keep_features=False, settings=CPU)
    killed: list[int] = []
    with two_nodes() as cluster:

        def kill_one() -> None:
            until = time.monotonic() + 300
            while time.monotonic() < until and not killed:
                for process in workers(cluster, "EmbedWorker.embed")[:1]:
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
                time.sleep(0.005)

        killer = threading.Thread(target=kill_one)
        killer.start()
        options: dict[str, Any] = {"block_posts": 150, "settings": CPU, "ray": cluster.address}
        found = score_corpus(run, posts, tmp_path / "ray.csv", **options)
        killer.join()
    assert killed
    assert found.counts == alone.counts
    rows, expected = (
        list(csv.DictReader((tmp_path / f"{one}.csv").read_text().splitlines())) for one in ("ray", "alone")
    )
    assert [(row["id"], row["label"]) for row in rows] == [(row["id"], row["label"]) for row in expected]
    for one in "ab":  # workers batch texts otherwise, which may change the last digit
        np.testing.assert_allclose([float(row[one]) for row in rows], [float(row[one]) for row in expected], atol=1e-5)


def test_a_cluster_keeps_its_embeddings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keeps embeddings in the cache.*leave out --no-cache"):
        score_corpus(tmp_path, Corpus(tmp_path, "table", []), tmp_path / "s.csv", ray="", keep_features=False)
