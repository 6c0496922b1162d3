"""Decodes images of all common formats to uint8 RGB, by content and not by file name.

Pillow is as fast as torchvision.io, gives the same pixels, covers every mode, and does not print libjpeg's warnings.
"""

from __future__ import annotations

import ctypes
import logging
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile

from ..spec import BadItem
from .decode_limits import MAX_READS, MEMORY, LimitedReader, MemoryBudget
from .formats import FORMATS, detect_format

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]

MAX_MEGAPIXELS = 50  # above, decoding and resizing one image can take over 5 s on a busy core
MAX_RATIO = 100  # long side over short: resizing the short side to 256 makes it 256x25600
MAX_SCANS = 2000  # scans of a JPEG times megapixels: a few bytes can add one more scan
BAND = 2**18  # pixels converted to RGB at a time: a copy that fits a processor's cache
MAX_REPEATS = 50  # of a block that belongs in a file once, and that Pillow joins or unpacks each time:
ONCE = {"JPEG": b"Exif\0\0", "PNG": b"iCCP"}
MAX_RUN_LENGTH = 16  # megapixels of a run-length coded BMP, which Pillow decodes in Python
BYTES_PER_PIXEL = {"WEBP": 20, "AVIF": 20}  # at the peak of decoding; of other formats,
OTHER_BYTES = 10

_imaging.set_block_size(64 << 20)  # larger than what malloc keeps for a thread: freed images are given back at once
_budget = MemoryBudget(MEMORY)
_quiet_lock = threading.Lock()


# EXIF orientation -> the transposition that makes the image upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(raw: bytes, using: ExitStack | None = None) -> torch.Tensor:
    """Decode an image file to uint8 RGB (3, H, W): upright, first frame, transparent parts white. Thread-safe.

    Detects the format by content, never by file name. Raises BadItem with the reason for anything else. Threads wait
    for one another where their images would take more than MEMORY bytes together: until this returns, or until
    `using` is closed by a caller that goes on with the pixels.
    """
    import torch

    return torch.from_numpy(decode_pixels(raw, using)).permute(2, 0, 1)  # (3, H, W)


def decode_pixels(raw: bytes, using: ExitStack | None = None) -> Pixels:
    """Decode to an array (H, W, 3), without torch."""
    if not raw:
        raise BadItem("empty file")
    kind = detect_format(raw)
    try:
        with ExitStack() as own:
            if kind in {"GIF", "TIFF", "AVIF"} or (kind == "PNG" and b"acTL" in raw):
                own.enter_context(_quiet())
            return _decode(raw, kind, using or own)
    except BadItem:
        raise
    except MemoryError as error:
        raise BadItem(f"not enough memory to decode this {kind}; a smaller copy may do") from error
    except Exception as error:  # on damaged bytes the decoders raise nearly anything
        raise BadItem(_reason(raw, kind, error)) from error


def _decode(raw: bytes, kind: str, using: ExitStack) -> Pixels:
    if kind == "TIFF":
        _silence_tiff()
    if kind in ONCE and (repeats := raw.count(ONCE[kind])) > MAX_REPEATS:
        raise BadItem(f"{repeats} blocks of {ONCE[kind][:4].decode()}: over the limit of {MAX_REPEATS}")
    file = LimitedReader(raw)
    image: Image.Image = FORMATS[kind][1](file)
    _refuse_excess(image, raw)
    using.enter_context(_budget.hold(image.width * image.height * BYTES_PER_PIXEL.get(kind, OTHER_BYTES)))
    file.counted = kind != "BMP"  # whose run-length code is read number by number, and bounded by its pixels
    image.load()
    turn = UPRIGHT.get(_orientation(image.info.get("exif")))  # Pillow transposes TIFF itself
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    return _pixels(image if turn is None else image.transpose(turn))


def _pixels(image: Image.Image) -> Pixels:
    """RGB (H, W, 3) of an image of any 8-bit mode; a large one is converted in bands, in a third of the time."""
    width, height = image.size
    rows = max(1, BAND // width)
    if rows >= height:
        return np.array(_opaque(image))
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(_opaque(band))
    return pixels


def _opaque(image: Image.Image) -> Image.Image:
    """The image as RGB, on white."""
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _refuse_excess(image: Image.Image, raw: bytes) -> None:
    """Raise BadItem, before decoding, for an image that would take excessive memory or time."""
    width, height = image.size
    pixels, size = width * height, f"{width}x{height} pixels"
    if pixels > MAX_MEGAPIXELS * 1_000_000:
        raise BadItem(f"{size}: over the limit of {MAX_MEGAPIXELS} megapixels")
    if max(width, height) > MAX_RATIO * min(width, height) > 0:
        raise BadItem(f"{size}: one side over {MAX_RATIO} times the other")
    if isinstance(image, BmpImageFile) and image.tile[0][0] == "bmp_rle" and pixels > MAX_RUN_LENGTH * 1_000_000:
        raise BadItem(f"{size} in run-length code: over its limit of {MAX_RUN_LENGTH} megapixels")
    most = MAX_SCANS * 1_000_000 // max(pixels, 1)
    # Counting marks is quick, but previews and trailers may hold some; only then is the file parsed.
    if isinstance(image, JpegImageFile) and raw.count(b"\xff\xda") > most and (scans := _scans(raw)) > most:
        raise BadItem(f"{scans} scans of {size}: over the limit of {most} for this size")


def _scans(raw: bytes) -> int:
    """Number of scans of a JPEG before its end mark, outside its other segments."""
    count, at = 0, 2
    for _ in range(MAX_READS):
        mark = _MARK.search(raw, at)
        if mark is None or raw[mark.end() - 1] == 0xD9:
            return count
        count += raw[mark.end() - 1] == 0xDA
        at = mark.end() + int.from_bytes(raw[mark.end() : mark.end() + 2], "big")
    raise BadItem(f"over {MAX_READS} segments")


_MARK = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of a segment or the end; in a scan, FF 00 and FF D0 to D7 are data


def _eight_bits(deep: NDArray[np.generic], mode: str) -> Pixels:
    """Convert grey (H, W) to 8 bits: the high byte of 16 bits; wider numbers have no scale, so from min to max."""
    if mode.startswith("I;16"):
        return (deep.astype(np.uint16, copy=False) >> 8).astype(np.uint8)
    low, high = float("inf"), float("-inf")
    for row in deep:  # row by row, as the whole image in float64 would take gigabytes
        finite = _finite(row)
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    scale = 255 / (high - low) if high > low else 0.0
    eight = np.empty(deep.shape, np.uint8)
    for row, out in zip(deep, eight, strict=True):
        out[:] = ((_finite(row) - low) * scale).round()
    return eight


def _finite(row: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.nan_to_num(row.astype(np.float64), posinf=0.0, neginf=0.0)


def _orientation(exif: object) -> int:
    """EXIF tag 274 of the first directory; 1 (upright) where it is absent or the metadata is damaged."""
    if not isinstance(exif, bytes):  # a PNG may have a text of this name
        return 1
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    at = int.from_bytes(tiff[4:8], order)
    entries = min(int.from_bytes(tiff[at : at + 2], order), (len(tiff) - at - 2) // 12)
    for entry in range(entries):
        layout = "<HHIHH" if order == "little" else ">HHIHH"
        tag, kind, _, short, _ = struct.unpack_from(layout, tiff, at + 2 + 12 * entry)
        if tag == 274:
            return int(short) if kind == 3 else 1
    return 1


def _reason(raw: bytes, kind: str, error: Exception) -> str:
    cut = "truncat" in str(error).lower() or isinstance(error, EOFError)
    if kind == "WEBP":
        cut = int.from_bytes(raw[4:8], "little") + 8 > len(raw)
    return f"truncated {kind}" if cut else f"damaged {kind}: {' '.join(str(error).split()) or type(error).__name__}"


@cache
def _silence_tiff() -> None:
    """Keep Pillow's log and, where it can be reached, libtiff from printing errors that are raised anyway."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = library[name]
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings about tags and animation frames; one at a time, as the filter is global."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
