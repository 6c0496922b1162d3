"""Claim: memory does not grow with the data: ten times the images, and the peak stays within 10 %.

    python benchmarks/memory.py --data DIR [--rows 1000]

`msa extract` runs in a process of its own on N posts and on 10 N. Where the data set has fewer, its images are given
again with one byte more behind their end, which decodes alike but counts as other content. The ratio last is the peak
resident memory of the small run over that of the large one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from common import DATA, check_target

from msa.features.posts.layouts import read_corpus


def peak(folder: Path) -> tuple[float, int]:
    """Peak resident memory in MB of an extraction, and the images it embedded."""
    command = [sys.executable, "-m", "msa.cli", "extract", str(folder / "posts.csv"), "--text", "none"]
    child = subprocess.Popen([*command, "--cache", str(folder / "cache")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"msa extract ended with status {status}")
    return usage.ru_maxrss / 1024, int(output.splitlines()[2].split()[3])


def write(folder: Path, images: list[Path], rows: int) -> None:
    """A table of `rows` posts with images of distinct content."""
    folder.mkdir()
    lines = ["id,image"]
    for number, image in enumerate(islice(cycle(images), rows)):
        (folder / f"{number}.jpg").write_bytes(image.read_bytes() + number.to_bytes(4, "big"))
        lines.append(f"{number},{number}.jpg")
    (folder / "posts.csv").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=1000)
    given = parser.parse_args()
    if not given.data.exists():
        sys.exit(f"no data at {given.data}; give --data")
    images = [post.image for post in read_corpus(given.data).samples if post.image]
    peaks = []
    for rows in (given.rows, 10 * given.rows):
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch) / "posts", images, rows)
            megabytes, encoded = peak(Path(scratch) / "posts")
        print(f"{rows} posts, {encoded} images embedded: peak {megabytes:.0f} MB resident")
        assert encoded == rows
        peaks.append(megabytes)
    check_target("peak of 1 x over peak of 10 x", peaks[0] / peaks[1], 1 / 1.1)


if __name__ == "__main__":
    main()
