"""The arithmetic of docs/scale.md: bytes, hours and what limits them, for 2 and for 100 million posts.

    python benchmarks/scale.py

Prints the tables of the page. Speeds on two cores are those of benchmarks/results; all else is computed from them and
from the constants below, and measured nowhere: 64 cores as 32 times two, a GPU by the operations of a forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

POSTS = 2e6, 100e6
TOTAL_CORES = 64
PEAK, REACHED = 312e12, 0.3  # operations a second of an A100 in half precision, by its data sheet; the share taken
DECODED = 1130.0  # images that one core decodes and resizes a second: images.txt
NETWORK, DISK, IMAGE = 1.25e9, 0.5e9, 100e3  # bytes a second of 10 Gbit/s and of an SSD over the network; bytes each
HEAD_WEIGHTS = 1664 * 64 + 2 * 64**2  # of `concat`, hidden 64, on the default encoders
ROW_SECONDS = 18.1e-3 / 2292  # of one head in a sweep, two cores: sweep.txt, whose folds train on 2292 rows
LATENCY = 50e-6  # of one message between two machines
BATCH, NODES = 64, 8


class Encoder(NamedTuple):
    """A width, the tokens of an item, operations of a forward pass, and items a second on two cores, if measured."""

    name: str
    width: int
    tokens: int
    operations: float
    measured: float | None
    image: bool

    @property
    def pooled_bytes(self) -> int:
        """Of a pooled vector, in float32."""
        return 4 * self.width

    @property
    def token_bytes(self) -> int:
        """Of the tokens, in float16."""
        return 2 * self.width * self.tokens

    @property
    def gpu(self) -> float:
        """Items a second of the GPU alone, at most."""
        return PEAK * REACHED / self.operations


def _transformer(layers: int, width: int, tokens: int) -> float:
    """Operations of a forward pass: two for each weight of a layer (12 width²) and token."""
    return 2 * layers * 12 * width**2 * tokens


# Operations of the image models as their papers count them, two for each multiplication and addition.
ENCODERS = (
    Encoder("efficientnet_lite0", 1280, 49, 0.81e9, 140.2, True),  # the mean of the two runs on a quiet machine
    Encoder("resnet50", 2048, 49, 8.2e9, 23.3, True),
    Encoder("vgg16", 512, 49, 31e9, 7.1, True),
    Encoder("openai/clip-vit-base-patch32", 768, 50, 8.8e9, None, True),
    Encoder("minilm", 384, 32, _transformer(6, 384, 32), 205.5, False),  # texts of MVSA have 32 word pieces
    Encoder("google-bert/bert-base-uncased", 768, 32, _transformer(12, 768, 32), None, False),
)


def number(value: float) -> str:
    """Two digits, or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def size_rows() -> list[list[str]]:
    """Encoder, bytes of a vector and of tokens, then GB for each number of posts: pooled, with tokens."""
    rows = []
    for one in ENCODERS:
        sizes = [
            posts * size / 1e9 for posts in POSTS for size in (one.pooled_bytes, one.pooled_bytes + one.token_bytes)
        ]
        rows.append([f"`{one.name}`", *map(number, (one.pooled_bytes, one.token_bytes, *sizes))])
    return rows


def hour_rows() -> list[list[str]]:
    """Encoder, items a second on two cores, then hours for each number of posts: 2 cores, 64 cores, one GPU."""
    rows = []
    for one in ENCODERS:
        hours = []
        for posts in POSTS:
            cores = [posts / one.measured / 3600 * 2 / count for count in (2, TOTAL_CORES)] if one.measured else []
            hours += [*(map(number, cores) if cores else ("–", "–")), number(posts / one.gpu / 3600)]
        rows.append([f"`{one.name}`", f"{one.measured:.0f}" if one.measured else "–", *hours])
    return rows


def limit_rows() -> list[list[str]]:
    """What feeds the encoders, then hours for each number of posts: 16 cores that decode, the network, the disk."""
    lite = ENCODERS[0]
    rates = {
        "16 ✕ CPU → JPEG": 16 * DECODED,
        "10 Gbit/s → 100 kB": NETWORK / IMAGE,
        "`efficientnet_lite0` → 0.5 GB/s": DISK / lite.pooled_bytes,
        "`efficientnet_lite0`, tokens → 0.5 GB/s": DISK / (lite.pooled_bytes + lite.token_bytes),
    }
    return [[name, number(rate), *(number(posts / rate / 3600) for posts in POSTS)] for name, rate in rates.items()]


def exchange_rows() -> list[list[str]]:
    """For 1 machine, and for 8 with DDP: rows of a step in all, ms of training and of all-reduce, rows/s over one's."""
    size = 4 * HEAD_WEIGHTS
    reduce = 2 * (NODES - 1) / NODES * size / NETWORK + 2 * (NODES - 1) * LATENCY  # a ring
    rows = []
    for nodes, each in ((1, BATCH), (NODES, BATCH // NODES), (NODES, BATCH)):
        train, wait = each * ROW_SECONDS, reduce if nodes > 1 else 0.0
        gain = nodes * each / (train + wait) * ROW_SECONDS
        rows.append([str(nodes), str(nodes * each), f"{train * 1e3:.2f}", f"{wait * 1e3:.2f}", f"{gain:.2f}"])
    return rows


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in rows]


def main() -> None:
    for title, rows in (
        ("bytes", size_rows()),
        ("hours", hour_rows()),
        ("limits", limit_rows()),
        ("all-reduce", exchange_rows()),
    ):
        print(title, *table(rows), sep="\n")


if __name__ == "__main__":
    main()
