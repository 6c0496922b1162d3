"""Posts as files on the disk, and a count of the files that are read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from msa.features.posts import content, text
from msa.features.posts.samples import Corpus, Sample, read_file
from msa.features.spec import Modality


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the name of each file of a post that is read to be hashed, in order."""
    names: list[str] = []

    def counted(path: Path, modality: Modality) -> bytes:
        names.append(path.name)
        return read_file(path, modality)

    for module in (content, text):
        monkeypatch.setattr(module, "read_file", counted)
    return names


def write_aged(file: Path, raw: bytes, age: float = 3600.0) -> None:
    """Write a file as if it had been modified `age` seconds ago."""
    file.write_bytes(raw)
    os.utime(file, (time.time() - age,) * 2)


def write_posts(root: Path) -> Corpus:
    """Three posts whose files are an hour old, one of them with a blank text; and a cache beside."""
    (root / "data").mkdir(parents=True)
    (root / "cache").mkdir()
    samples = []
    for name, words in (("a", b"good"), ("b", "今天".encode("gb18030")), ("c", b" ")):
        image, words_file = root / f"data/{name}.jpg", root / f"data/{name}.txt"
        write_aged(image, b"image of " + name.encode())
        write_aged(words_file, words)
        samples.append(Sample(name, image, words_file))
    return Corpus(root, "table", samples)
