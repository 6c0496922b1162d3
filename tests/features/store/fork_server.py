"""Children that extract, forked from one warm process and killed, short of disk or cut off from power on request.

Run as a script this is the server: it imports everything once and opens no HDF5 file, so that each child starts as
clean as a new process, without its two seconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.extraction.embed import embed_corpus
from msa.features.extraction.settings import ExtractSettings
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import BadItem, EncoderSpec, Modality

HANGS_AFTER = 120  # seconds


class Fake(Encoder):
    """Embeds an image by its mean colour, a text by its letters in two layers; `slow` seconds a batch."""

    def __init__(self, modality: Modality, slow: float, layers: Sequence[str] = ("1",)) -> None:
        self.slow = slow
        self.specs = tuple(
            EncoderSpec(f"fake-{modality}-{layer}", modality, "timm", "", "sha256:0", layer, "mean", "{}", 8, "float32")
            for layer in layers
        )

    def preprocess(self, item: Any, key: str = "") -> np.ndarray:
        if isinstance(item, str):
            if "unknown" in item:
                raise BadItem("no known word")
            return np.array([ord(letter) for letter in item], np.float32)
        return np.asarray(item, np.float32).mean((1, 2))

    def length(self, prepared: np.ndarray) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[np.ndarray]) -> tuple[Encoded, ...]:
        time.sleep(self.slow)
        results = []
        for spec in self.specs:
            tokens = [np.outer(item, np.arange(1, 9) / int(spec.layer)).astype(np.float32) for item in batch]
            results.append(Encoded(np.stack([item.mean(0) for item in tokens]), list(tokens)))
        return tuple(results)


def posts(folder: Path, count: int) -> Corpus:
    """Posts of one drawn image and one text each; some images broken or absent, some texts unknown, both repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number in range(count):
        image = folder / f"{number}.png"
        if not image.exists() and number % 20 != 7:
            Image.new("RGB", (3, 3), (number % 50, number % 3, 9)).save(image)
            if number % 20 == 3:
                image.write_bytes(image.read_bytes()[: 2 * number])
        text = "unknown" if number % 15 == 2 else f"{number % 7 * 'word '}{number % 50}"
        samples.append(Sample(f"p{number}", image, text))
    return Corpus(folder, "table", samples)


def run(folder: Path, cache: Path, *, count: int, slow: float, flush_bytes: int) -> None:
    """The run that is killed, starved or cut off: the real extract with two fake encoders."""
    from msa.features.store import writer

    writer.FLUSH_BYTES = flush_bytes  # by size, not by time, so that each run does the same operations
    fakes = (Fake("image", slow), Fake("text", slow, ("1", "2")))
    sources = [Source(fake.specs, lambda runtime, fake=fake: fake) for fake in fakes]
    settings = ExtractSettings(device="cpu", batch_images=4, batch_tokens=80, streams=2, workers=2)
    embed_corpus(posts(folder, count), sources, cache, settings)


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code or minus its signal, and all that it wrote to stderr."""

    status: int
    output: str


class ForkServer:
    """The warm process that children are forked from."""

    def __enter__(self) -> ForkServer:
        command = [sys.executable, str(Path(__file__).resolve())]
        quiet = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=HANGS_AFTER)

    def run(self, *children: Mapping[str, Any]) -> list[Ended]:
        """Run children at the same time; see `child` for their settings."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(children, default=str) + "\n")
        self.process.stdin.flush()
        return [Ended(**end) for end in json.loads(self.process.stdout.readline())]


def serve() -> None:
    import torch  # noqa: F401 (decoding an image needs it)

    import msa.cli  # noqa: F401

    for line in sys.stdin:
        requests = json.loads(line)
        born = [_fork(request) for request in requests]
        start = time.monotonic()
        for after, pid, pipe in sorted((r["kill"], *b) for r, b in zip(requests, born, strict=True) if "kill" in r):
            select.select([pipe], [], [], max(0.0, start + after - time.monotonic()))  # or until it is gone by itself
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        ends = []
        for pid, pipe in born:
            with os.fdopen(pipe, encoding="utf-8") as output:
                text = output.read()
            ends.append({"output": text, "status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})
        print(json.dumps(ends), flush=True)


def _fork(request: Mapping[str, Any]) -> tuple[int, int]:
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(into, 2)
        signal.alarm(HANGS_AFTER)
        code = child(**request)
        if code:
            ctypes.CDLL(None).exit(code)  # as Python ends: HDF5 cleans up then, and after an error that may crash
        os._exit(0)
    os.close(into)
    return pid, out


def child(
    folder: str,
    cache: str,
    count: int = 40,
    slow: float = 0.0,
    flush_bytes: int = 3000,
    delay: float = 0.0,
    kill: float | None = None,  # seconds after its start; the server does it
    limit: int | None = None,  # bytes that no file may exceed, as on a full disk, HDF5's own writes included
    fault: tuple[int, int, bool] | None = None,  # number of an operation, errno, and whether it lasts
    journal: str | None = None,  # file for the record of all operations
) -> int:
    """One extract as the command line runs it; the exit code of `msa`."""
    from msa import cli

    time.sleep(delay)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def command(**_: object) -> None:
        run(Path(folder), Path(cache), count=count, slow=slow, flush_bytes=flush_bytes)

    cli.app = command  # type: ignore[assignment]
    if fault is None and journal is None:
        return cli.run_command([])
    sys.path.insert(0, str(Path(__file__).parent))
    import power

    if journal is not None:
        with power.Journal(Path(cache).parent, Path(journal)):
            return cli.run_command([])
    faults = power.Faults(Path(cache), *fault)
    code = cli.run_command([])
    if faults.at == 0:
        print(faults.operations, file=sys.stderr)
    return code


if __name__ == "__main__":
    serve()
