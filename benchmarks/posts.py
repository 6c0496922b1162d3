"""Claim: images inside Parquet files are never in memory: ten times the posts, and the peak stays within 10 %.

    python benchmarks/posts.py [--images 2000] [--texts 1000000]

Parquet tables with images as bytes, in row groups of 100 rows, are read and their content keys computed, each in a
process of its own. Texts of posts are held in memory: how much of it, and the time, is printed for a table of `--texts`
posts without images. The ratio last is the peak of the small table of images over that of the large one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
from common import check_target
from pyarrow import parquet

SIZE = 50_000  # bytes of an image
GROUP = 100  # rows
READ = """
import re, sys, time
from pathlib import Path
from msa.features.posts.content import hash_corpus
from msa.features.posts.layouts import read_corpus
started = time.perf_counter()
corpus = read_corpus(Path(sys.argv[1]))
read = time.perf_counter()
hash_corpus(corpus)
hashed = time.perf_counter()
peak = re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # ru_maxrss would begin with the parent's
print(read - started, hashed - read, int(peak[1]) / 1024)
"""


def measure(file: Path, what: str) -> float:
    """Read a table in a process of its own; the peak resident memory in MB."""
    run = subprocess.run([sys.executable, "-c", READ, str(file)], check=True, capture_output=True, text=True)
    read, hashed, peak = map(float, run.stdout.split())
    size = file.stat().st_size / 1e6
    print(f"{what}, {size:.0f} MB: read in {read:.1f} s, keys in {hashed:.1f} s, peak {peak:.0f} MB resident")
    return peak


def write_images(file: Path, rows: int) -> None:
    base = os.urandom(SIZE)
    kinds = {"id": pa.string(), "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.string()}
    with parquet.ParquetWriter(file, pa.schema(kinds), compression="none") as writer:
        for start in range(0, rows, GROUP):
            numbers = range(start, min(start + GROUP, rows))
            images = [{"bytes": row.to_bytes(4, "big") + base, "path": None} for row in numbers]
            columns = {
                "id": [f"p{row}" for row in numbers],
                "image": images,
                "label": ["ab"[row % 2] for row in numbers],
            }
            writer.write_table(pa.table(columns, schema=writer.schema))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--texts", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "posts.parquet"
        texts = [f"{row} a post of some hundred characters, as people write them" for row in range(given.texts)]
        columns = {"id": [f"p{row}" for row in range(given.texts)], "text": texts}
        parquet.write_table(pa.table(columns), file)
        measure(file, f"{given.texts} posts with texts")
        peaks = []
        for rows in (given.images, 10 * given.images):
            write_images(file, rows)
            peaks.append(measure(file, f"{rows} posts with images"))
    check_target("peak of the small table over that of the large one", peaks[0] / peaks[1], 0.9)


if __name__ == "__main__":
    main()
