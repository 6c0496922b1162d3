"""The finished blocks of a file of predictions: a folder beside it, from which an interrupted command continues."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...features.posts.samples import Sample
from ...features.store.durable import make_folder, write_atomic
from ...features.store.json_files import read_json, write_json
from ...features.store.locks import lock
from ..runs.folders import CONFIG

PLAN = "plan.json"
DIGEST_BYTES = 8


class Blocks:
    """Blocks of `size` posts, each written whole: its predictions, the parts that could not be read, its counts.

    `plan` is what decides the rows of the file, for JSON.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any], size: int, posts: int) -> None:
        self.out, self.plan, self.size, self.posts = out, dict(plan), size, posts
        self.folder = out.with_name(f"{out.name}.blocks")
        self.summary = out.with_name(f"{out.name}.json")

    def __len__(self) -> int:
        return -(-self.posts // self.size)

    def rows(self, block: int) -> slice:
        """The posts of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.posts))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing the same file, after one that does."""
        make_folder(self.out.parent)
        with lock(self.out.with_name(f".{self.out.name}.lock")):
            yield

    def open(self) -> None:
        """Make the folder, or find what a killed command left. Raises ValueError where that is of another plan."""
        self._check(self.folder / PLAN, f"finished blocks of other predictions; delete {self.folder}")
        make_folder(self.folder)
        write_json(self.folder / PLAN, self.plan)

    def finished(self) -> dict[str, Any] | None:
        """The summary of the whole file, where it is there. Raises ValueError where it is not of this plan."""
        if not self.out.exists():
            return None
        if not self.summary.is_file():
            raise ValueError(f"{self.out} exists, and nothing says what it holds; give another --out, or delete it")
        self._check(self.summary, f"other predictions; delete {self.out}")
        return read_json(self.summary, "notes of predictions", "delete it", counts=dict)

    def done(self, block: int) -> bool:
        """Whether a block is written."""
        return self._counts(block).exists()

    def write(self, block: int, predictions: bytes, errors: bytes, counts: Mapping[str, Any]) -> None:
        """Write a block; its counts come last, and with them it is done."""
        write_atomic(self._predictions(block), predictions)
        write_atomic(self._errors(block), errors)
        write_json(self._counts(block), counts)

    def counts(self) -> list[dict[str, Any]]:
        """The counts of every block."""
        numbers = range(len(self))
        return [read_json(self._counts(one), "counts of a block", f"delete {self.folder}") for one in numbers]

    @property
    def predictions(self) -> list[Path]:
        """The files of predictions, in the order of the blocks."""
        return [self._predictions(block) for block in range(len(self))]

    @property
    def errors(self) -> list[Path]:
        """The files of parts that could not be read, in the order of the blocks."""
        return [self._errors(block) for block in range(len(self))]

    def remove(self) -> None:
        """Delete the folder of the blocks."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _predictions(self, block: int) -> Path:
        return self.folder / f"{block:06}{self.out.suffix}"

    def _errors(self, block: int) -> Path:
        return self.folder / f"{block:06}.errors.jsonl"

    def _counts(self, block: int) -> Path:
        return self.folder / f"{block:06}.json"

    def _check(self, file: Path, what: str) -> None:
        if not file.is_file():
            return
        stored = read_json(file, "notes of predictions", f"delete {self.out} and {self.folder}")
        differing = [name for name, value in self.plan.items() if stored.get(name) != value]
        if differing:
            raise ValueError(f"{file}: {what} ({', '.join(differing)} differ), or give another --out")


def digest_samples(samples: Sequence[Sample]) -> str:
    """16 hexadecimal digits of the ids, image paths and texts of posts, in their order; no file is read."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for sample in samples:
        images = "\1".join(map(str, sample.images or [None]))
        digest.update("\0".join((sample.id, images, str(sample.text), "")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def digest_run(run: Path) -> str:
    """16 hexadecimal digits of a run's settings and weights."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name in (CONFIG, "head.safetensors"):
        digest.update((run / name).read_bytes())
    return digest.hexdigest()
