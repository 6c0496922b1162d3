"""Decoding of images: formats, modes, orientation, transparency and damage."""

from __future__ import annotations

import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps, features

from msa.features.posts.images import UPRIGHT, _scans, decode_image
from msa.features.spec import BadItem

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
PHOTO = NOISE.filter(ImageFilter.GaussianBlur(3))


def save(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_gives_the_pixels_that_pillow_opens(subsampling: int, progressive: bool) -> None:
    for image in (PHOTO, PHOTO.convert("L"), PHOTO.resize((33, 17))):
        raw = save(image, "JPEG", subsampling=subsampling, progressive=progressive)
        decoded = decode_image(raw)
        assert (decoded.dtype, decoded.shape) == (torch.uint8, (3, image.height, image.width))
        assert torch.equal(decoded, pixels(Image.open(io.BytesIO(raw))))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_formats_give_back_their_pixels(format: str) -> None:
    image = PHOTO.quantize(64).convert("RGB") if format == "GIF" else PHOTO
    assert torch.equal(decode_image(save(image, format, lossless=True)), pixels(image))


@AVIF
def test_avif_gives_the_pixels_that_pillow_opens_upright_and_on_white() -> None:
    exif = Image.Exif()
    exif[274], exif[282] = 6, 72.0
    raw = save(PHOTO, "AVIF", quality=90, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    assert upright.size == (48, 64)
    assert torch.equal(decode_image(raw), pixels(upright))
    clear = save(Image.new("RGBA", (16, 16), (200, 40, 90, 0)), "AVIF")
    assert decode_image(clear).min() == 255
    with pytest.raises(BadItem, match="AVIF"):
        decode_image(raw[: len(raw) // 2])
    tags = raw.index(b"MM\0*") + 9
    damaged = raw[:tags] + b"\x63" + raw[tags + 1 :]  # says that it holds 99
    assert torch.equal(decode_image(damaged), decode_image(raw))  # without a warning, which pytest would raise


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_png_modes(mode: str) -> None:
    image = PHOTO.convert(mode)
    assert torch.equal(decode_image(save(image, "PNG")), pixels(image))


def test_cmyk_jpeg_keeps_its_colours() -> None:
    solid = Image.new("RGB", (16, 16), (200, 40, 90))
    decoded = decode_image(save(solid.convert("CMYK"), "JPEG", quality=95))
    assert (decoded.int() - pixels(solid).int()).abs().max() <= 6


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    deep = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    for format in ("PNG", "TIFF"):
        decoded = decode_image(save(Image.fromarray(deep), format))
        assert torch.equal(decoded, torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wide_grey_is_stretched_from_min_to_max(dtype: type[np.generic]) -> None:
    decoded = decode_image(save(Image.fromarray(np.array([[-10, 30], [90, 90]], dtype=dtype)), "TIFF"))
    assert decoded[0].tolist() == [[0, 102], [255, 255]]


def test_transparent_parts_turn_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    half = Image.new("LA", (4, 4), (0, 128))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    for raw in (save(clear, "PNG"), save(clear, "WEBP", lossless=True)):
        decoded = decode_image(raw)
        assert decoded[:, 0, 0].tolist() == [10, 20, 30]
        assert decoded[:, 1, 1].tolist() == [255, 255, 255]
    assert decode_image(save(half, "PNG"))[:, 0, 0].tolist() == [127, 127, 127]
    assert decode_image(save(palette, "PNG", transparency=1))[:, 0, 0].tolist() == [255, 255, 255]
    assert decode_image(save(palette, "GIF", transparency=1))[:, 0, 0].tolist() == [255, 255, 255]
    assert decode_image(save(palette, "PNG", transparency=b"\xff\x00"))[:, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = save(PHOTO, format, exif=exif, lossless=True)
    turn = UPRIGHT.get(orientation)
    flat = Image.open(io.BytesIO(save(PHOTO, "JPEG"))) if format == "JPEG" else PHOTO
    assert torch.equal(decode_image(raw), pixels(flat if turn is None else flat.transpose(turn)))


@pytest.mark.parametrize("exif", [b"", b"II", b"MM\0*\0\0\0\x08\xff\xff\x01\x12", b"II*\0\xff\xff\xff\xff", b"x" * 40])
def test_damaged_metadata_harms_no_image(exif: bytes) -> None:
    for prefix in (b"", b"Exif\0\0"):
        raw = save(PHOTO, "JPEG", exif=prefix + exif)
        assert torch.equal(decode_image(raw), decode_image(save(PHOTO, "JPEG")))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    raw = save(red, format, save_all=True, append_images=[blue], lossless=True)
    assert torch.equal(decode_image(raw), pixels(red))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_bands_join_to_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = (
        Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)) if mode == "I;16" else PHOTO.convert(mode)
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    raws = [save(image, "TIFF", exif=exif)]
    raws += [save(image, "PNG", transparency=3, exif=exif)] if mode in ("L", "P") else []
    for raw in raws:
        whole = decode_image(raw)
        monkeypatch.setattr("msa.features.posts.images.BAND", 500)
        assert torch.equal(decode_image(raw), whole)
        monkeypatch.undo()


def png_of_size(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"404: Not Found\n", "a text that begins with '404: Not Found\\n'; download the image again"),
        (b"\1\2\3\4", "not an image"),
        (b"RIFF\0\0\0\0WAVE", "not an image"),
        (b"RIFF\0\0\0\0AVI LIST", "a video; save one of its frames as JPEG or PNG"),
        (b"\0\0\0\x1cftypisom\0\0", "a video; save one of its frames as JPEG or PNG"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", "a HEIC image, which is not read; convert it to JPEG or PNG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image, which is not read; convert it to JPEG or PNG"),
        (b"\xffO\xffQ\0/", "a JPEG 2000 image, which is not read; convert it to JPEG or PNG"),
        (b"\xff\n\xfa\x1f", "a JPEG XL image, which is not read; convert it to JPEG or PNG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg width="1">', "an SVG drawing, which is not read"),
        (b"%PDF-1.7\n", "a PDF file; convert it to JPEG or PNG"),
        (b"PK\x03\x04\x14\0", "a compressed file; unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        (b"../.git/annex/objects/x/SHA256E-s1--2.jpg", "a pointer of git-annex"),
        (b"\n\n<!doctype HTML>\n<title>404</title>", "a saved web page; download the image again"),
        (b"<html><body>Sign in", "a saved web page; download the image again"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML or JSON, perhaps a server's error"),
        (b'{"error": "rate limit"}', "XML or JSON, perhaps a server's error; download the image again"),
        (b"\xff\xd8", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an EPS drawing, which is not read"),
        (png_of_size(9000, 90000), "9000x90000 pixels: over the limit of 50 megapixels"),
        (png_of_size(7072, 7072), "7072x7072 pixels: over the limit of 50 megapixels"),
        (png_of_size(0, 5), "damaged PNG: "),
    ],
)
def test_what_cannot_be_decoded_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(BadItem) as error:
        decode_image(raw)
    assert str(error.value).startswith(reason)


def test_what_would_take_minutes_or_gigabytes_is_refused() -> None:
    runs = b"\1\0\0\0" * 10_000
    header = struct.pack("<IiiHHIIiiII", 40, 7_000, 7_000, 1, 8, 1, len(runs), 0, 0, 256, 0)
    bitmap = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs
    photo = bytearray(save(PHOTO, "JPEG", progressive=True))
    size = photo.index(b"\xff\xc2") + 5
    photo[size : size + 4] = struct.pack(">HH", 7_000, 7_000)
    scan = photo.rindex(b"\xff\xda")
    for raw, reason in (
        (save(Image.new("1", (101, 1)), "PNG"), "101x1 pixels: one side over 100 times the other"),
        (save(Image.new("1", (3, 301)), "GIF"), "3x301 pixels: one side over 100 times the other"),
        (bitmap, "7000x7000 pixels in run-length code: over its limit of 16 megapixels"),
        (bytes(photo[:-2] + photo[scan:-2] * 90), "100 scans of 7000x7000 pixels: over the limit of 40 for this size"),
    ):
        with pytest.raises(BadItem) as error:
            decode_image(raw)
        assert str(error.value) == reason
    assert decode_image(save(Image.new("1", (100, 1)), "PNG")).shape == (3, 1, 100)


def test_scans_are_counted_where_they_count() -> None:
    raw = save(PHOTO, "JPEG", progressive=True, subsampling=0)
    mark = b"\xff\xda\0\x02" * 3
    application = b"\xff\xe1" + struct.pack(">H", len(mark) + 2) + mark
    assert _scans(raw) == 10
    assert _scans(save(NOISE, "JPEG")) == 1
    assert _scans(raw[:2] + application + raw[2:] + mark) == 10
    assert _scans(raw[: len(raw) // 2]) < 10


def test_tiff_decoders_write_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    raw = bytearray(save(PHOTO, "TIFF", compression="tiff_lzw"))
    raw[8 : len(raw) // 2 : 7] = b"\xff" * len(raw[8 : len(raw) // 2 : 7])
    many = save(PHOTO, "TIFF").replace(struct.pack("<HHIH", 277, 3, 1, 3), struct.pack("<HHIH", 277, 3, 1, 2048))
    for damaged in (bytes(raw), many):
        with pytest.raises(BadItem):
            decode_image(damaged)
    assert capfd.readouterr() == ("", "")


def test_want_of_memory_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(image: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(BadItem, match=r"^not enough memory to decode this BMP"):
        decode_image(save(PHOTO, "BMP"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused_not_filled(format: str, kept: float) -> None:
    raw = save(NOISE, format)
    with pytest.raises(BadItem, match=f"^(truncated|damaged) {format}"):
        decode_image(raw[: int(len(raw) * kept)])


@pytest.mark.parametrize("cut", [1, 2, 10, 300])
def test_a_jpeg_without_its_last_bytes_is_truncated(cut: int) -> None:
    with pytest.raises(BadItem, match=r"^truncated JPEG$"):
        decode_image(save(PHOTO, "JPEG")[:-cut])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", pytest.param("AVIF", marks=AVIF)])
def test_mutated_files_decode_or_are_refused_in_silence(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(format)
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    options = {"compression": "tiff_lzw"} if format == "TIFF" else {"exif": exif} if format != "BMP" else {}
    original = save(PHOTO, format, **options)
    reasons = []
    for _ in range(120):
        raw = bytearray(original)
        for _ in range(chance.choice((0, 1, 2, 8))):
            raw[chance.randrange(min(len(raw), chance.choice((64, 400, len(raw)))))] = chance.randrange(256)
        try:
            decoded = decode_image(bytes(raw[: chance.choice((None, chance.randrange(len(raw))))]))
        except BadItem as error:
            reasons.append(str(error))
        else:
            assert (decoded.dtype, decoded.shape[0], decoded.dim()) == (torch.uint8, 3, 3)
    assert 0 < len(reasons) < 120
    assert not any("\n" in reason for reason in reasons)
    assert capfd.readouterr() == ("", "")


def test_threads_decode_alike() -> None:
    raws = [
        save(PHOTO.rotate(angle), format) for angle in range(0, 90, 10) for format in ("JPEG", "PNG", "TIFF", "GIF")
    ]
    alone = [decode_image(raw) for raw in raws]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode_image, raws * 3))
    assert all(torch.equal(a, b) for a, b in zip(alone * 3, together, strict=True))
