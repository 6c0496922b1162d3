"""Fuzz cases: images, texts and tables, damaged or out of proportion; the number of a case alone decides all of it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from fuzz_seeds import TABLE_BOMBS, TEXT_BOMBS, image_bombs, images, tables, texts

Kind = Literal["image", "text", "table"]

BOMB_EVERY = 50
EXTREMES = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 2**31 - 1, 2**31, 2**32 - 1)
PIECES = (  # put into texts and tables, some of them many times over
    *("@a", "#", "＃话题＃", "RT ", "&amp;", "amp;", "&#x", "&", "http://", "www.", "\n", "\r", "\t", ",", '"', '""'),
    *("[", "{", '{"id":', "}", "\\", "\\ud800", "\\u0000", "NaN", "-Infinity", "1e999", "null", "9" * 5000, "../"),
    *("C:\\", "/etc/passwd", "id", "image", "text", "label", "positive", "\0", "\x1b[2J", "\u202e", "\u2028", "\ufeff"),
    *("e\u0301", "👩‍👧", "𝕏", "好", "ﷺ", "İ", "x" * 3000, " "),
)
BROKEN = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x81\x30\x81", b"\xff\xfe", b"\xfe\xff", b"\0")


@dataclass(frozen=True)
class Case:
    """One input. `name` begins with its format; `path` is where a table stands in its data set, '' for others."""

    number: int
    kind: Kind
    name: str
    raw: bytes
    path: str = ""

    @property
    def format(self) -> str:
        return self.name.split()[0]


def is_bomb(number: int) -> bool:
    """Whether a case may take seconds; all others take milliseconds."""
    return number % BOMB_EVERY == BOMB_EVERY - 1


def make_case(number: int) -> Case:
    """The case of that number, the same on every call."""
    chance = Random(number)
    kind: Kind = chance.choices(("image", "text", "table"), (6, 3, 2))[0]
    if is_bomb(number):
        return _bomb(number, kind, chance)
    if kind == "image":
        name = chance.choice(list(images()))
        raw = _mutate(images()[name], images().__getitem__, list(images()), IMAGE_DAMAGE, chance)
        if raw.startswith(b"\x89PNG") and chance.random() < 0.75:
            raw = seal(raw)
        return Case(number, kind, name, raw)
    if kind == "text":
        name = chance.choice(list(texts()))
        return Case(number, kind, name, _mutate(texts()[name], texts().__getitem__, list(texts()), TEXT_DAMAGE, chance))
    name = chance.choice(list(tables()))
    path, raw = tables()[name]
    return Case(
        number, kind, name, _mutate(raw, lambda other: tables()[other][1], list(tables()), TEXT_DAMAGE, chance), path
    )


def _bomb(number: int, kind: Kind, chance: Random) -> Case:
    if kind == "image":
        name, build = chance.choice(_image_bombs())
        return Case(number, kind, name, build(chance))
    count = chance.choice((100, 1_000, 5_000, 12_000))
    if kind == "text":
        name = chance.choice(list(TEXT_BOMBS))
        return Case(number, kind, f"text bomb {name}", TEXT_BOMBS[name](count).encode())
    name = chance.choice(list(TABLE_BOMBS))
    path, lines = TABLE_BOMBS[name]
    return Case(number, kind, f"table bomb {name}", lines(count).encode(), path)


@cache
def _image_bombs() -> list[tuple[str, Callable[[Random], bytes]]]:
    return list(image_bombs())


Damage = Callable[[bytearray, Random], None]


def _mutate(
    raw: bytes, other: Callable[[str], bytes], names: list[str], kinds: tuple[Damage, ...], chance: Random
) -> bytes:
    """One to four damages one after the other; in one case of ten, the end of another seed for its own."""
    data = bytearray(raw)
    if chance.random() < 0.1:
        end = other(chance.choice(names))
        data[chance.randrange(len(data) + 1) :] = end[chance.randrange(len(end) + 1) :]
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        chance.choice(kinds)(data, chance)
    return bytes(data)


def _somewhere(data: bytearray, chance: Random) -> int:
    """A position, near the start more often than not: that is where headers are."""
    return chance.randrange(min(len(data), chance.choice((32, 256, 2**62))) + 1)


def flip_bits(data: bytearray, chance: Random) -> None:
    for _ in range(chance.choice((1, 2, 8, 64))):
        at = _somewhere(data, chance)
        data[at : at + 1] = bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1])


def overwrite(data: bytearray, chance: Random) -> None:
    at, count = _somewhere(data, chance), chance.choice((1, 4, 30, 300))
    data[at : at + count] = chance.choice((bytes(count), b"\xff" * count, chance.randbytes(count)))


def remove(data: bytearray, chance: Random) -> None:
    at = _somewhere(data, chance)
    del data[at : at + chance.choice((1, 2, 4, 30, 300))]


def repeat(data: bytearray, chance: Random) -> None:
    at, count = _somewhere(data, chance), chance.choice((1, 4, 30, 300))
    data[at:at] = data[at : at + count] * chance.choice((1, 2, 100))


def truncate(data: bytearray, chance: Random) -> None:
    del data[chance.choice((_somewhere(data, chance), max(0, len(data) - chance.randrange(1, 40)))) :]


def overwrite_number(data: bytearray, chance: Random) -> None:
    _put(data, _somewhere(data, chance), chance.choice((">H", "<H", ">I", "<I")), chance)


def set_field(data: bytearray, chance: Random) -> None:
    """A size, a length or a count of the format's own, set to an extreme."""
    if known := list(fields(bytes(data))):
        _put(data, *chance.choice(known), chance)


def insert_piece(data: bytearray, chance: Random) -> None:
    at, piece = _somewhere(data, chance), chance.choice(PIECES).encode(chance.choice(("utf-8", "gb18030")), "replace")
    data[at:at] = piece * chance.choice((1, 1, 2, 200))


def insert_broken(data: bytearray, chance: Random) -> None:
    at = _somewhere(data, chance)
    data[at:at] = chance.choice(BROKEN) * chance.choice((1, 2, 50))


IMAGE_DAMAGE = (flip_bits, overwrite, remove, repeat, truncate, overwrite_number, set_field, set_field, set_field)
TEXT_DAMAGE = (flip_bits, overwrite, remove, repeat, truncate, insert_piece, insert_piece, insert_piece, insert_broken)


def _put(data: bytearray, at: int, code: str, chance: Random) -> None:
    size = struct.calcsize(code)
    if at + size <= len(data):
        struct.pack_into(code, data, at, chance.choice(EXTREMES) & (1 << 8 * size) - 1)


def fields(raw: bytes) -> Iterator[tuple[int, str]]:
    """Where a file holds sizes, lengths and counts, and as what number; nothing for an unknown format."""
    if raw.startswith(b"\x89PNG"):
        for at, kind, _ in png_chunks(raw):
            inside = {b"IHDR": ">I>I>B>B>B>B>B", b"acTL": ">I>I", b"fcTL": ">I>I>I>I>I>I>H>H>B>B"}.get(kind, "")
            yield at, ">I"
            yield from _row(at + 8, inside)
    elif raw.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(raw) and raw[at] == 0xFF:
            yield at + 2, ">H"
            yield from _row(
                at + 4, {0xC0: ">B>H>H>B>B>B>B", 0xC2: ">B>H>H>B>B>B>B", 0xDA: ">B>B>B"}.get(raw[at + 1], ">B")
            )
            at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    elif raw.startswith(b"GIF"):
        frame = max(raw.find(b"\x2c", 13), 13)
        yield from (*_row(6, "<H<H<B"), *_row(frame + 1, "<H<H<H<H<B<B<B"))
    elif raw.startswith(b"BM"):
        yield from _row(2, "<I<H<H<I<I<I<I<H<H<I<I<I<I<I<I")
    elif raw[:4] in (b"II*\0", b"II+\0"):
        big = raw[2:3] == b"+"
        start = int.from_bytes(raw[8:16] if big else raw[4:8], "little")
        entry = "<H<H<I<I<I<I" if big else "<H<H<I<I"
        yield from _row(start, "<H")
        for number in range(int.from_bytes(raw[start : start + 2], "little") & 63):
            yield from _row(start + (8 if big else 2) + (20 if big else 12) * number, entry)
    elif raw.startswith(b"RIFF"):
        at = 12
        yield 4, "<I"
        while at + 8 <= len(raw):
            inside = {b"VP8X": "<I<H<H<H", b"VP8 ": "<H<H<H<H<H", b"VP8L": "<B<I", b"ANMF": "<I<I<I<I"}
            yield at + 4, "<I"
            yield from _row(at + 8, inside.get(raw[at : at + 4], ""))
            at += 8 + int.from_bytes(raw[at + 4 : at + 8], "little")


def _row(at: int, codes: str) -> Iterator[tuple[int, str]]:
    """The numbers of `codes`, two letters each, that stand one after the other."""
    for code in (codes[start : start + 2] for start in range(0, len(codes), 2)):
        yield at, code
        at += struct.calcsize(code)


def png_chunks(raw: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Start, kind and length of every chunk that lies inside the file."""
    at = 8
    while at + 12 <= len(raw):
        length = int.from_bytes(raw[at : at + 4], "big")
        if at + 12 + length > len(raw):
            return
        yield at, raw[at + 4 : at + 8], length
        at += 12 + length


def seal(raw: bytes) -> bytes:
    """A PNG with the checksums of its chunks made right, so that damage gets past them."""
    data = bytearray(raw)
    for at, _, length in png_chunks(raw):
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(raw[at + 4 : at + 8 + length]))
    return bytes(data)
