"""Bounds on decoding: blocks of one file, and memory of all threads together."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event, Lock

import numpy as np
import pytest
from PIL import Image

from msa.features.posts import decode_limits, images
from msa.features.posts.decode_limits import MemoryBudget
from msa.features.posts.images import decode_pixels
from msa.features.spec import BadItem

SQUARE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


def save(format: str) -> bytes:
    buffer = io.BytesIO()
    SQUARE.save(buffer, format)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


JPEG, PNG, GIF = save("JPEG"), save("PNG"), save("GIF")
BODY = 13 + 3 * 2 ** ((GIF[10] & 7) + 1)  # where the blocks of the GIF begin
BLOCKS = {
    "JPEG fill bytes": (JPEG[:2], b"\xff", JPEG[2:]),
    "JPEG empty segments": (JPEG[:2], b"\xff\xfe\0\2", JPEG[2:]),
    "JPEG bytes between segments": (JPEG[:20], b"\1", JPEG[20:]),
    "PNG chunks": (PNG[:33], chunk(b"abCd"), PNG[33:]),
    "PNG chunks after the image": (PNG[:-12], chunk(b"tEXt", b"k\0v"), PNG[-12:]),
    "PNG pieces of the image": (PNG[:33], chunk(b"IDAT"), PNG[33:]),
    "GIF extensions": (GIF[:BODY], b"\x21\1\1x\0", GIF[BODY:]),
    "GIF comments": (GIF[:BODY] + b"\x21\xfe", b"\1x", b"\0" + GIF[BODY:]),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_few_extra_blocks_are_read_and_very_many_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_limits, "MAX_READS", 2000)
    start, block, end = BLOCKS[kind]
    first = 200 if kind == "GIF comments" else 20
    assert decode_pixels(start + first * block + end).shape == (8, 8, 3)
    with pytest.raises(BadItem, match="over 2000 fill bytes or blocks"):
        decode_pixels(start + 20_000 * block + end)


def test_segments_after_the_first_scan_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_READS", 100)
    monkeypatch.setattr(images, "MAX_SCANS", 0)
    with pytest.raises(BadItem, match="over 100 segments"):
        decode_pixels(JPEG[:-2] + b"\xff\xfe\0\2" * 200 + JPEG[-2:])


@pytest.mark.parametrize(
    ("start", "block", "end"),
    [
        (JPEG[:2], b"\xff\xe1\0\x30Exif\0\0" + bytes(40), JPEG[2:]),
        (PNG[:33], chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1000))), PNG[33:]),
    ],
    ids=["Exif", "iCCP"],
)
def test_blocks_that_are_joined_or_unpacked_each_time_are_few(start: bytes, block: bytes, end: bytes) -> None:
    assert decode_pixels(start + 3 * block + end).shape == (8, 8, 3)
    with pytest.raises(BadItem, match=r"60 blocks of .*: over the limit of 50"):
        decode_pixels(start + 60 * block + end)


def test_threads_never_hold_more_than_the_budget() -> None:
    budget, lock, held, most = MemoryBudget(10), Lock(), [0], [0]

    def hold(size: int) -> None:
        with budget.hold(size):
            with lock:
                held[0] += min(size, 10)
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= min(size, 10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, [1, 4, 7, 25, 3, 10] * 50))
    assert most[0] <= 10
    assert budget.free == 10


def test_pixels_count_until_the_caller_is_done_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_budget", MemoryBudget(8 * 8 * images.OTHER_BYTES))
    done = Event()
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as using:
            decode_pixels(PNG, using)
            waiting = pool.submit(decode_pixels, PNG)
            waiting.add_done_callback(lambda future: done.set())
            assert not done.wait(0.1)
        assert waiting.result(10).shape == (8, 8, 3)
    assert decode_pixels(PNG).shape == (8, 8, 3)  # without `using` nothing is kept
