"""Claim: `msa serve` answers one post in under 80 ms, keeps up with extraction, and never fails by input.

    python benchmarks/serve.py [--data POSTS] [--cache CACHE] [--run RUN] [--posts 400] [--requests 10000]

The server is a process of its own, with a gated head on the cached features unless a run is given. Printed are the
median and the 99th percentile of one post at a time; the posts per second of 32 clients over those of extracting the
same posts with encoders that are loaded, in turns; the answers to good and bad requests by status; and the server's
memory before and after them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median, quantiles
from urllib.parse import urlsplit

import psutil
from common import DATA, machine

from msa.features.encoders.encoder import Source
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus, Sample
from msa.features.posts.text import read_text
from msa.pipeline.runs.run_encoders import run_sources
from msa.pipeline.runs.runs import Run, load_run

CLIENTS, ROUNDS = 32, 3
BOUNDARY = "a-boundary-of-the-benchmark"
MILLISECONDS, SHARE, GROWTH = 80, 0.8, 64  # the claims; megabytes that memory may grow by

Request = tuple[str, str, bytes, dict[str, str]]  # method, path, body, headers


def form(image: bytes | None, text: str | None) -> Request:
    """A request that predicts one post."""
    parts = []
    if image is not None:
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="image"; filename="x"\r\n\r\n'
        parts.append(head.encode() + image + b"\r\n")
    if text is not None:
        parts.append(f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="text"\r\n\r\n{text}\r\n'.encode())
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return "POST", "/predict", body, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def post_request(sample: Sample) -> Request:
    image = sample.image.read_bytes() if sample.image else None
    return form(image, read_text(sample.text) if sample.text is not None else None)


def bad_request(good: Request, draw: Random) -> Request:
    """A request that cannot be answered, of one of several kinds."""
    kind = {"content-type": "application/json"}
    _, path, body, headers = good
    return draw.choice(
        [
            ("POST", path, body[: draw.randrange(len(body))], headers),
            ("POST", path, draw.randbytes(draw.randrange(2000)), headers),
            ("POST", path, draw.randbytes(draw.randrange(2000)), kind),
            ("POST", path, b"[" * 50_000, kind),
            ("POST", path, json.dumps([{"text": "\ud800"}, {"image": "AAAA"}, 5, {"id": {}}]).encode(), kind),
            ("POST", path, json.dumps({"text": "a" * 30_000}).encode(), kind),
            form(b"\xff\xd8\xff" + draw.randbytes(500), "a broken picture"),
            form(b"\x89PNG\r\n\x1a\n" + draw.randbytes(500), None),
            form(b"<svg/>", None),
            form(None, " \u200b "),
            ("POST", path, body, {"content-type": "text/plain"}),
            ("GET", f"/posts/{draw.randrange(10**9)}/image", b"", {}),
            ("GET", "/posts?page=-1&order=%00", b"", {}),
            ("GET", "/static/..%2f..%2fapp.py", b"", {}),
            ("POST", path, body, headers | {"host": "evil.example"}),
            ("DELETE", "/health", b"", {}),
        ]
    )


@contextmanager
def serving(run: Path, cache: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of a server."""
    command = [sys.executable, "-m", "msa.cli", "serve", str(run), "--cache", str(cache), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        assert process.stdout
        yield process.stdout.readline().split()[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def send(url: str, requests: Sequence[Request]) -> tuple[list[int], list[float]]:
    """Send requests one after another; their statuses, 0 where the connection broke, and seconds."""
    host = urlsplit(url).netloc
    connection = http.client.HTTPConnection(host, timeout=60)
    statuses, seconds = [], []
    for method, path, body, headers in requests:
        started = time.perf_counter()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        except (OSError, http.client.HTTPException):  # an answer to a body that is not read to its end
            statuses.append(0)
            connection.close()
        seconds.append(time.perf_counter() - started)
    connection.close()
    return statuses, seconds


def send_together(url: str, requests: Sequence[Request]) -> tuple[Counter[int], float]:
    """Send requests by many clients at once; the statuses, and the seconds for all."""
    found: list[Counter[int]] = []

    def client(number: int) -> None:
        found.append(Counter(send(url, requests[number::CLIENTS])[0]))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found, Counter()), time.perf_counter() - started


def extract_seconds(corpus: Corpus, sources: Sequence[Source], *, tokens: bool) -> float:
    """Seconds to extract the posts into a new cache."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        embed_corpus(corpus, sources, Path(folder) / "cache", ExtractSettings(device="cpu", tokens=tokens))
        return time.perf_counter() - started


def train(data: Path, cache: Path, runs: Path) -> Path:
    command = [sys.executable, "-m", "msa.cli", "train-head", str(data), "--cache", str(cache), "--runs", str(runs)]
    subprocess.run([*command, "--fusion", "gated", "--epochs", "3"], check=True, stdout=subprocess.DEVNULL)
    return runs / "gated"


def measure_latency(url: str, good: Sequence[Request]) -> float:
    """Print the times of one post at a time; return the median in milliseconds."""
    send(url, good[:20])
    statuses, seconds = send(url, good)
    assert {*statuses} == {200}, Counter(statuses)
    middle, late = median(seconds) * 1000, quantiles(seconds, n=100)[98] * 1000
    print(f"one post at a time: p50 {middle:.1f} ms (target < {MILLISECONDS}), p99 {late:.1f} ms")
    return middle


def measure_throughput(url: str, good: Sequence[Request], corpus: Corpus, run: Run, cache: Path) -> float:
    """Print the posts per second of extraction and of many clients, in turns; return the median of their ratio."""
    sources, runtime = run_sources(run, cache, True), ExtractSettings(device="cpu").choose_runtime()
    loaded = [source.load(runtime) for source in sources]  # held, so that the extractions share them
    few = replace(corpus, samples=corpus.samples[:16])
    extract_seconds(few, sources, tokens=run.config.tokens)
    shares = []
    for _ in range(ROUNDS):
        extracting = extract_seconds(corpus, sources, tokens=run.config.tokens)
        counts, together = send_together(url, good)
        assert {*counts} == {200}, counts
        shares.append(extracting / together)
        print(f"extraction {len(good) / extracting:.1f} posts/s, {CLIENTS} clients {len(good) / together:.1f}")
    print(f"{len(loaded)} encoders; {CLIENTS} clients over extraction: {median(shares):.3f} (target >= {SHARE})")
    return median(shares)


def measure_mistakes(url: str, process: psutil.Process, good: Sequence[Request], count: int) -> bool:
    """Print the answers to good and bad requests, and the memory; return whether the server kept both claims."""
    draw = Random(0)
    chosen = [draw.choice(good) for _ in range(count)]
    mixed = [one if draw.random() < 0.25 else bad_request(one, draw) for one in chosen]
    send_together(url, mixed[: count // 5])
    before = process.memory_info().rss / 1e6
    counts, _ = send_together(url, mixed)
    after = process.memory_info().rss / 1e6
    by_status = ", ".join(f"{number} x {status or 'cut'}" for status, number in sorted(counts.items()))
    failed = sum(number for status, number in counts.items() if status >= 500 and status != 503)
    print(f"{count} good and bad requests: {by_status}; {failed} failures of the server (target 0)")
    print(f"memory {before:.0f} MB before, {after:.0f} MB after (target: {GROWTH} MB more at most)")
    return not failed and after - before <= GROWTH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of posts")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="folder of cached embeddings")
    parser.add_argument("--run", type=Path, help="run folder; a gated head is trained if left out")
    parser.add_argument("--posts", type=int, default=400)
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run_folder = given.run or train(given.data, given.cache, Path(name))
        corpus = read_corpus(given.data)
        whole = [one for one in corpus.samples if one.image and one.text]
        corpus = replace(corpus, samples=whole[: given.posts])
        good = [post_request(sample) for sample in corpus.samples]
        with serving(run_folder, given.cache) as (url, process):
            latency = measure_latency(url, good)
            share = measure_throughput(url, good, corpus, load_run(run_folder), given.cache)
            sound = measure_mistakes(url, process, good, given.requests)
    print(f"machine: {machine()}")
    sys.exit(0 if latency < MILLISECONDS and share >= SHARE and sound else 1)


if __name__ == "__main__":
    main()
