"""The fuzz harness: cases in child processes, under a limit of memory and of time, each with a known end.

    python tests/features/fuzz/fuzz_run.py NUMBER ...

runs single cases, by their numbers, with the encoders. A child sets its limits on itself, so that the system enforces
them even inside of a C library; a child that ends is replaced, and its end is the case's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

from msa.features.blob import Blob
from msa.features.posts.layouts import read_corpus
from msa.features.posts.text import clean_text, decode_text, read_text
from msa.features.spec import BadItem, Clean

if TYPE_CHECKING:
    from fuzz import Case

    from msa.features.encoders.encoder import Encoder

SECONDS = 5.0  # of computing for one case
PATIENCE = 120.0  # seconds on the clock, on a machine that others use as well
MEMORY = 2 * 2**30  # bytes beyond what a child takes before its first case
GOOD = ("embedded", "read", "reported")
ENCODE_EVERY = 10
SCRIPT = __file__  # what a child runs


@dataclass(frozen=True)
class Result:
    """How a case ended. `peak` is the most memory in bytes that its child has taken so far, beyond the start."""

    number: int
    outcome: str  # one of GOOD, or raised, printed, hung, died
    reason: str
    seconds: float = 0.0
    peak: int = 0

    @property
    def good(self) -> bool:
        return self.outcome in GOOD


def run(numbers: Sequence[int], *, encode: bool, workers: int = 2, seconds: float = SECONDS) -> list[Result]:
    """Run cases in child processes. With `encode`, all are preprocessed and one in ten is embedded."""
    arguments = ["--child", f"--seconds={seconds}", *(["--encode"] if encode else [])]
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda first: list(_run(numbers[first::workers], arguments)), range(workers))
        return sorted((result for part in parts for result in part), key=lambda result: result.number)


def _run(numbers: Sequence[int], arguments: Sequence[str]) -> Iterator[Result]:
    child: _Child | None = None
    for number in numbers:
        child = child or _Child(arguments)
        result = child.ask(number)
        if result.outcome in ("died", "hung"):
            child = child.close()
        yield result
    if child:
        child.close()


class _Child:
    """One process that runs cases, asked for one at a time."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        command = [sys.executable, "-W", "always", SCRIPT, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0
        )
        assert self._answer(), f"a child could not start: {self._said()}"

    def ask(self, number: int) -> Result:
        assert self.process.stdin
        self.process.stdin.write(f"{number}\n".encode())
        if answer := self._answer():
            return Result(**json.loads(answer))
        silent = self.process.poll() is None and not self._ended()
        self.process.kill()
        end = -self.process.wait()
        if silent or end == signal.SIGPROF:
            return Result(
                number, "hung", f"not done in {PATIENCE:g} s on the clock" if silent else "too much computing"
            )
        return Result(number, "died", f"{signal.Signals(end).name if end > 0 else -end}: {self._said()}")

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            assert stream
            stream.close()
        self.process.wait()

    def _answer(self) -> bytes:
        """The next line; nothing when the child has ended, or is silent for too long."""
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        return self.process.stdout.readline() if ready else b""

    def _ended(self) -> bool:
        assert self.process.stdout
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def _said(self) -> str:
        self.errors.seek(0)
        return " ".join(self.errors.read().decode(errors="replace").split())[-300:]


def serve(*, encode: bool, seconds: float) -> None:
    """Be a child: answer each number on stdin by a line of JSON. What else is printed counts against the case.

    The system ends the process when one case computes for longer than `seconds`.
    """
    from fuzz import make_case

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    encoders = _load() if encode else {}
    start = _limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps("ready"), file=answers)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            case = make_case(int(line))
            message = os.fstat(2).st_size
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                outcome, reason = _carry_out(case, encoders, Path(folder))
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                outcome, reason = "raised", f"{error!r} at {Path(where.filename).name}:{where.lineno}"
            signal.setitimer(signal.ITIMER_PROF, 0)
            used = time.process_time() - began
            sys.stderr.flush()
            if os.fstat(2).st_size > message:
                outcome, reason = "printed", os.pread(2, 500, message).decode(errors="replace")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - start
            print(json.dumps(asdict(Result(case.number, outcome, reason, used, peak))), file=answers)


def _limit_memory() -> int:
    """Set the limit for this process; return the bytes that it has taken so far."""
    taken = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    data = int(taken["VmData"].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY, resource.RLIM_INFINITY))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _load() -> dict[str, Encoder]:
    """The two bundled encoders, each after its first item, so that nothing is set up later."""
    import torch

    from msa.features.encoders.runtime import choose_runtime
    from msa.features.encoders.zoo import open_encoder

    torch.set_num_threads(1)
    runtime = choose_runtime("cpu", streams=1)
    encoders = {
        "image": open_encoder("efficientnet_lite0", "image").load(runtime),
        "text": open_encoder("minilm", "text").load(runtime),
    }
    _embed(encoders["image"], torch.zeros(3, 30, 40, dtype=torch.uint8), fully=True)
    _embed(encoders["text"], "warm", fully=True)
    return encoders


def _embed(encoder: Encoder, item: Any, *, fully: bool) -> str:
    """Preprocess an item, and embed it where asked; what comes out must be whole and finite."""
    import numpy as np

    prepared = encoder.preprocess(item, "0" * 32)
    assert encoder.length(prepared) > 0
    if not fully:
        return "read"
    for spec, encoded in zip(encoder.specs, encoder.encode([prepared]), strict=True):
        assert encoded.pooled.shape == (1, spec.width)
        assert encoded.tokens[0].shape[1] == spec.width
        assert np.isfinite(encoded.pooled).all()
        assert np.isfinite(encoded.tokens[0]).all()
    return "embedded"


def _carry_out(case: Case, encoders: dict[str, Encoder], folder: Path) -> tuple[str, str]:
    """Read a case as `msa extract` would."""
    try:
        if case.kind == "table":
            problems = _read_table(case, folder)
            for problem in problems:
                _check_line(problem)
            return "read", f"{len(problems)} problems"
        if case.kind == "image":
            return _read_image(case, encoders.get("image")), ""
        return _read_text(case, encoders.get("text")), ""
    except ValueError as error:
        if type(error) is not BadItem and (case.kind != "table" or type(error) is not ValueError):
            raise
        _check_line(str(error))
        return "reported", str(error)


def _check_line(reason: str) -> None:
    """A reason must be one line that any terminal and any encoding can show."""
    assert reason, "no reason"
    assert reason.expandtabs().isprintable(), f"not one plain line: {reason!r}"


def _read_image(case: Case, encoder: Encoder | None) -> str:
    if encoder is None:
        from msa.features.posts.images import decode_pixels

        height, width, channels = decode_pixels(case.raw).shape
        assert (channels, height * width > 0) == (3, True)
        return "read"
    from msa.features.posts.images import decode_image

    return _embed(encoder, decode_image(case.raw), fully=case.number % ENCODE_EVERY == 0)


def _read_text(case: Case, encoder: Encoder | None) -> str:
    text = decode_text(case.raw)
    cleaned = [clean_text(text, level) for level in get_args(Clean)]
    if encoder is None:
        return "read"
    return _embed(encoder, cleaned[case.number % len(cleaned)], fully=case.number % ENCODE_EVERY == 0)


def _read_table(case: Case, folder: Path) -> list[str]:
    """Lay a data set of three posts out around the table, and read it; return its problems."""
    (folder / "data").mkdir(exist_ok=True)
    for name in ("1.jpg", "1.txt", "2.jpg", "3.txt", "3.PNG"):
        (folder / "data" / name).write_bytes(b"\xff\xd8" if name.endswith("g") else b"a text")
    file = folder / case.path
    file.write_bytes(case.raw)
    try:
        corpus = read_corpus(folder)
    finally:
        file.unlink()
    problems = [str(problem) for problem in corpus.problems]
    for sample in corpus.samples:
        try:
            if sample.text is not None:
                read_text(sample.text)
        except BadItem as error:
            problems.append(str(error))
        assert sample.image is None or isinstance(sample.image, Blob) or sample.image.is_file()
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description="Run single fuzz cases with the encoders.")
    parser.add_argument("numbers", type=int, nargs="*")
    for name in ("--child", "--encode"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of computing for one case")
    given = parser.parse_args()
    if given.child:
        serve(encode=given.encode, seconds=given.seconds)
        return
    from fuzz import make_case

    for result in run(given.numbers, encode=True, workers=1, seconds=given.seconds):
        print(f"{result.number} {make_case(result.number).name}: {result.outcome} {result.reason}")


if __name__ == "__main__":
    main()
