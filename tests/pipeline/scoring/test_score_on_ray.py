"""A cluster that embeds the posts gives the file of a single process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from clusters import two_nodes, workers

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
CPU = ExtractSettings(device="cpu", batch_tokens=64, flush_seconds=0.05)


def texts(count: int, first: int = 0) -> list[str]:
    return [" ".join(WORDS[(n >> shift) % 4] for shift in (0, 2, 4, 6)) + f" {n}" for n in range(first, first + count)]


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_and_a_node_gives_the_file_of_one_process(tmp_path: Path) -> None:
    """Byte for byte: the numbers of OpenVINO do not depend on what else is in a batch."""
    cache = tmp_path / "cache"
    known = Corpus(tmp_path, "table", [Sample(f"k{n}", None, text, "ab"[n % 2]) for n, text in enumerate(texts(40))])
    extract(known, EncoderRequest((), ("minilm",)), cache, CPU)
    data = DataConfig(cache, ("none",), ("minilm",), folds=2, device="cpu")
    run = train_head(known, data, HeadConfig("text", hidden=8), TrainConfig(epochs=2), runs=tmp_path / "runs").run
    new = [*texts(900, first=100), *(f"{n} " + "what a lovely day " * 100 for n in range(60))]
    posts = Corpus(tmp_path, "table", [Sample(f"p{n}", None, text) for n, text in enumerate(new)])
    alone = score_corpus(run, posts, tmp_path / "alone.csv", block_posts=150, keep_features=False, settings=CPU)
    assert alone.counts["cut"] == 60
    killed: list[str] = []
    with two_nodes() as cluster:

        def kill() -> None:
            until = time.monotonic() + 300
            while time.monotonic() < until and len(killed) < 2:
                time.sleep(0.005)
                nodes = cluster.worker_nodes if killed else [cluster.head_node]
                for process in workers(cluster, "EmbedWorker.embed", nodes=nodes)[:1]:
                    if killed:
                        cluster.remove_node(*nodes, allow_graceful=False)
                    else:
                        os.kill(process, signal.SIGKILL)
                    killed.append("a node" if killed else "a worker")

        killer = threading.Thread(target=kill)
        killer.start()
        options: dict[str, Any] = {"block_posts": 150, "settings": CPU, "ray": cluster.address}
        found = score_corpus(run, posts, tmp_path / "ray.csv", **options)
        killer.join()
    assert killed == ["a worker", "a node"]
    assert found.counts == alone.counts
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_a_cluster_keeps_its_embeddings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keeps embeddings in the cache.*leave out --no-cache"):
        score_corpus(tmp_path, Corpus(tmp_path, "table", []), tmp_path / "s.csv", ray="", keep_features=False)
