"""What the fuzz harness damages: sound images, texts and tables, and bombs, which are sound but out of proportion."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

from PIL import Image, ImageFilter

SIDE = (64, 48)
HUGE = (  # width and height: at the limits of readers, over them, and out of shape
    *((7_071, 7_071), (70_000, 714), (714, 70_000), (16_383, 3_050), (4_000, 4_000), (3_999, 4_001)),
    *((7_072, 7_072), (65_535, 65_535), (2**31 - 1, 1), (1, 50_000_000), (20_000, 150), (2**32 - 1, 2**32 - 1)),
)


def photo(mode: str = "RGB") -> Image.Image:
    """A small picture with smooth areas and noise, the same on every call."""
    noise = Image.frombytes("RGB", SIDE, Random(0).randbytes(SIDE[0] * SIDE[1] * 3))
    return noise.filter(ImageFilter.GaussianBlur(2)).convert(mode)


def save(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@cache
def images() -> dict[str, bytes]:
    """One file of every kind that is read, by its format and what is special about it."""
    rgb, frames = photo(), [photo().rotate(angle) for angle in (90, 180)]
    alpha, deep = photo("RGBA"), Image.frombytes("I;16", SIDE, Random(1).randbytes(SIDE[0] * SIDE[1] * 2))
    alpha.putalpha(photo("L"))
    palette = rgb.quantize(16)
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # of an interlaced 8x8: width and rows
    laced = b"".join(b"\0" + Random(2).randbytes(width) for width, rows in passes for _ in range(rows))
    files = {
        "JPEG baseline": save(rgb, "JPEG"),
        "JPEG progressive": save(rgb, "JPEG", progressive=True, subsampling=0),
        "JPEG grey": save(photo("L"), "JPEG"),
        "JPEG cmyk": save(photo("CMYK"), "JPEG", icc_profile=bytes(600), comment="a comment"),
        "JPEG restarts": save(rgb, "JPEG", restart_marker_blocks=2),
        "PNG rgb": save(rgb, "PNG"),
        "PNG alpha": save(alpha, "PNG"),
        "PNG palette": save(palette, "PNG", transparency=b"\0\x80\xff", dpi=(72, 72)),
        "PNG bits": save(photo("1"), "PNG", icc_profile=bytes(600)),
        "PNG 16 bit": save(deep, "PNG"),
        "PNG interlaced": png(8, 8, colour=0, interlaced=True, data=zlib.compress(laced)),
        "PNG animated": save(rgb, "PNG", save_all=True, append_images=frames),
        "GIF plain": save(palette, "GIF"),
        "GIF transparent": save(palette, "GIF", transparency=3, comment="a comment" * 40),
        "GIF animated": save(rgb, "GIF", save_all=True, append_images=frames, duration=50, loop=0, disposal=2),
        "BMP rgb": save(rgb, "BMP"),
        "BMP palette": save(palette, "BMP"),
        "BMP bits": save(photo("1"), "BMP"),
        "BMP runs": bmp_runs(64, 48, b"\x30\x07\0\x03abc\0\0\x02\x40\0\x02\x05\x01" * 40 + b"\0\1"),
        "WEBP lossy": save(rgb, "WEBP"),
        "WEBP lossless": save(alpha, "WEBP", lossless=True),
        "WEBP animated": save(rgb, "WEBP", save_all=True, append_images=frames, icc_profile=bytes(600)),
        "TIFF float": save(photo("F"), "TIFF"),
        "TIFF 16 bit": save(deep, "TIFF", compression="tiff_lzw"),
        "TIFF pages": save(rgb, "TIFF", save_all=True, append_images=frames, big_tiff=True),
        "TIFF fax": save(photo("1"), "TIFF", compression="group4"),
        "TIFF group 3": save(photo("1"), "TIFF", compression="group3"),
    }
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd", "lzma"):
        files[f"TIFF {compression}"] = save(rgb, "TIFF", compression=compression)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F], exif[0x011A] = orientation, "maker", 72.0
        format = ("JPEG", "PNG", "WEBP", "TIFF")[orientation % 4]
        files[f"{format} turned {orientation}"] = save(rgb, format, exif=exif)
    return files


@cache
def texts() -> dict[str, bytes]:
    """Texts in every encoding and of every kind of content that cleaning acts on."""
    post = "RT @bob: I don't like this 😀❤️ #sad http://t.co/a1 &amp; www.x.org &lt;3 今天很开心！#话题# ＠小明 ok"
    return {
        "text plain": b"So good! Loving it, not.\r\nSecond line\r",
        "text utf-8": post.encode(),
        "text marked": post.encode("utf-8-sig"),
        "text utf-16": post.encode("utf-16"),
        "text utf-16 be": b"\xfe\xff" + post.encode("utf-16-be"),
        "text gb18030": (post * 3).encode("gb18030"),
        "text emoji": ("👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇨🇳" * 20).encode(),
        "text chinese": ("我不喜欢这部电影，但是还可以。" * 30).encode(),
        "text control": bytes(range(1, 128)) + "\u202e\u2028\u0085\ufeff\ufffe\u200d".encode(),
        "text scripts": ("हिन्दी العربية עברית ไทย ÜnïcödéİıſK Z" + "a\u0301\u0323" * 40).encode(),
        "text entities": b"&amp;amp;lt; &#38;#60; &#x26;lt &fjlig; &bogus; &#0; &#xD800; &#1114112; &NotEqualTilde;"
        * 5,
        "text mentions": b"@a@b@c RT RT @d: RT:RT ##x ###y# http:/http://a//b https://www.www.c @@e #@f" * 5,
        "text long": b"It was the best of times, it was the worst of times. " * 400,
        "text empty": b" \r\n ",
    }


@cache
def tables() -> dict[str, tuple[str, bytes]]:
    """per layout, the file that lists its posts: its path, and its bytes. See `lay_out` for the posts."""
    rows = [{"id": n, "image": f"data/{n}.jpg", "text": f"post {n} 今天 #x", "label": "positive"} for n in (1, 2, 3)]
    csv = "id,image,text,label,split\n" + "".join(
        f'{n},data/{n}.jpg,"a ""quoted"", text\nof two lines {n}",positive,train\n' for n in (1, 2, 3)
    )
    tsv = "id\timage\ttext\tlabel\n1\tdata/1.jpg\t好\tneutral\n2\tdata/2.jpg\t\tnegative\n"
    memes = [{"id": n, "img": f"data/{n}.jpg", "label": n % 2, "text": "half \ud83d pair"} for n in (1, 2, 3)]
    mvsa = "ID\ttext,image\ttext,image\n1\tpositive,neutral\tpositive,positive\n2\tneutral,neutral\tneutral,negative\n"
    return {
        "table csv": ("posts.csv", csv.encode()),
        "table gb18030": ("posts.csv", (csv + "4,,很开心很开心很开心,正面,测试\n").encode("gb18030")),
        "table utf-16": ("posts.csv", csv.encode("utf-16")),
        "table tsv": ("posts.tsv", tsv.encode()),
        "table jsonl": ("posts.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()),
        "table json": ("posts.json", json.dumps(rows, ensure_ascii=False, indent=1).encode()),
        "table semicolon": ("posts.csv", csv.replace(",", ";").encode()),
        "table backslash": ("posts.csv", csv.replace('""', '\\"').encode()),
        "table memes": ("train.jsonl", "".join(json.dumps(row) + "\n" for row in memes).encode()),
        "table imagefolder": ("metadata.csv", b"file_name,caption,label\ndata/1.jpg,one,a\ndata/2.jpg,two,b\n"),
        "table course": ("train.txt", b"guid,tag\n1,positive\n2,null\n3,negative\n"),
        "table mvsa": ("labelResultAll.txt", mvsa.encode()),
        "table id-label": ("ID-label.txt", b"ID,label\n1,0\n2,1\n3,2\n"),
    }


def zeros(count: int) -> bytes:
    """A zlib stream of a thousandth of the `count` zero bytes that it expands to."""
    packer, last = zlib.compressobj(9, wbits=-15), zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = last.compress(bytes(count % (1 << 20))) + last.flush()
    return b"\x78\xda" + block * (count >> 20) + tail + struct.pack(">I", (count % 65521) << 16 | 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk, with its length and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 2,
    interlaced: bool = False,
    data: bytes,
    extra: bytes = b"",
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(width: int, height: int, *, bits: int, sample: int, rows: int, data: bytes) -> bytes:
    """A deflated grey TIFF in one strip, whatever its header says of its rows."""
    tags = {256: width, 257: height, 258: bits, 259: 8, 262: 1, 273: 0, 277: 1, 278: rows, 279: len(data), 339: sample}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data


def bmp_runs(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 256 greys in run-length code."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    greys = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    start = 14 + len(header) + len(greys)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + greys + runs


def jpeg_of_size(raw: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size; what is then missing, the decoder takes for grey."""
    at = next(at for at in range(len(raw)) if raw[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return raw[: at + 5] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + raw[at + 9 :]


def webp_of_size(width: int, height: int) -> bytes:
    """A lossless WEBP of one colour, which takes 34 bytes at any size."""
    raw = save(Image.new("RGBA", (8, 8), (1, 2, 3, 200)), "WEBP", lossless=True)
    size = struct.pack("<I", (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14 | 1 << 28)
    return raw[:21] + size + raw[25:]


def image_bombs() -> Iterator[tuple[str, Callable[[Random], bytes]]]:
    """Files of a few kilobytes that ask for gigabytes, or for minutes."""
    for bits, colour, each in ((8, 0, 1), (16, 0, 2), (8, 2, 3), (8, 6, 4), (16, 6, 8)):
        for interlaced in (False, True):

            def pixels(
                chance: Random, bits: int = bits, colour: int = colour, each: int = each, laced: bool = interlaced
            ) -> bytes:
                width, height = chance.choice(HUGE)
                data = zeros(min((width * each + 1) * height + 2**20 * laced, 2**30))
                return png(width, height, bits=bits, colour=colour, interlaced=laced, data=data)

            yield "PNG bomb", pixels
    yield "PNG bomb", lambda chance: png(16, 16, data=zeros(2**31))
    for kind in (b"zTXta\0\0", b"iTXta\0\1\0\0\0", b"iCCPa\0\0", b"eXIf"):
        yield (
            "PNG bomb",
            lambda chance, kind=kind: png(
                16, 16, data=zeros(784), extra=chunk(kind[:4], kind[4:] + zeros(2**30)) * chance.choice((1, 20))
            ),
        )
    yield "PNG bomb", lambda chance: png(16, 16, data=zeros(784), extra=chunk(b"tEXt", b"a\0" + b"b" * 9) * 40_000)
    for bits, sample in ((8, 1), (16, 1), (32, 2), (32, 3), (64, 3)):

        def strip(chance: Random, bits: int = bits, sample: int = sample) -> bytes:
            width, height = chance.choice(HUGE)
            data = zeros(min(width * height * bits // 8, 2**30))
            return tiff(width, height, bits=bits, sample=sample, rows=chance.choice((height, 2**32 - 1, 1)), data=data)

        yield "TIFF bomb", strip
    for name in ("JPEG baseline", "JPEG progressive", "JPEG cmyk", "JPEG restarts"):
        yield "JPEG bomb", lambda chance, name=name: jpeg_of_size(images()[name], *chance.choice(HUGE))
    yield "JPEG bomb", scans
    yield "WEBP bomb", lambda chance: webp_of_size(*chance.choice(HUGE))
    yield "BMP bomb", lambda chance: bmp_runs(*(side & 2**31 - 1 for side in chance.choice(HUGE)), b"\1\0\0\0" * 20_000)
    yield "GIF bomb", lambda chance: wide_gif()


def scans(chance: Random) -> bytes:
    """A progressive JPEG that repeats one of its scans, each of which is a pass over all pixels."""
    raw = jpeg_of_size(images()["JPEG progressive"], *chance.choice(HUGE))
    starts = [at for at in range(len(raw)) if raw[at : at + 2] == b"\xff\xda"]
    at = chance.choice(starts)
    header = raw[at : at + 2 + int.from_bytes(raw[at + 2 : at + 4], "big")]
    return raw[:-2] + header * chance.choice((10, 100, 10_000)) + raw[-2:]


@cache
def wide_gif() -> bytes:
    return save(Image.new("P", (7_071, 7_071)), "GIF")


TEXT_BOMBS: dict[str, Callable[[int], str]] = {
    "&": lambda count: "&" + "amp;" * count,
    "&#": lambda count: "&" + "#38;" * count,
    "#": lambda count: "#" * count + "a",
    "@": lambda count: "@a" * count,
    "RT": lambda count: "RT " * count,
    "words": lambda count: "not good " * (count * 10),
    "han": lambda count: "好" * (count * 100),
    "one word": lambda count: "x" * (count * 100),
    "marks": lambda count: "e" + "\u0301" * (count * 100),
}

TABLE_BOMBS: dict[str, tuple[str, Callable[[int], str]]] = {
    "deep": ("posts.jsonl", lambda count: "[" * (count * 100)),
    "deep object": ("train.jsonl", lambda count: '{"img":' * (count * 10)),
    "number": ("posts.jsonl", lambda count: '{"text":' + "9" * (count * 10) + "}"),
    "field": ("posts.csv", lambda count: "id,text\n1," + "x" * (count * 100)),
    "quote": ("posts.csv", lambda count: 'id,text\n1,"' + "x\n" * (count * 10)),
    "quotes": ("posts.csv", lambda count: "id,text\n" + 'a","\n' * count),
    "quote pairs": ("posts.tsv", lambda count: "id\ttext\n" + '1\t"x\n2\tx"\n' * count),
    "columns": ("posts.csv", lambda count: ",".join(f"c{n}" for n in range(count))),
    "same id": ("posts.csv", lambda count: "id,text\n" + "1,x\n" * count),
    "commas": ("train.txt", lambda count: "," * (count * 100)),
    "pairs": ("labelResultAll.txt", lambda count: "1" + "\tpositive,neutral" * (count * 10)),
}
