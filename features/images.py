"""Image of a post: the bytes of any common format to one uint8 RGB tensor.

Pillow alone, opened by content: it decodes as fast as torchvision.io, gives the same pixels, covers every mode,
and does not print libjpeg's warnings to stderr.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .encoders import BadItem

if TYPE_CHECKING:
    import torch

MAX_MEGAPIXELS = 100

_quiet_lock = threading.Lock()


class _Jpeg(JpegImageFile):
    def getexif(self) -> Image.Exif:
        """Nothing: Pillow reads the resolution here, and would warn about or fail on damaged metadata."""
        return Image.Exif()


# Opened by these classes, not by Image.open, which would also start decoders of rare formats, warn of its own
# size limit, and refuse larger images before their size can be told.
FORMATS: dict[str, tuple[tuple[bytes, ...], type[ImageFile.ImageFile]]] = {
    "JPEG": ((b"\xff\xd8\xff",), _Jpeg),
    "PNG": ((b"\x89PNG\r\n\x1a\n",), PngImageFile),
    "GIF": ((b"GIF87a", b"GIF89a"), GifImageFile),
    "BMP": ((b"BM",), BmpImageFile),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
    "WEBP": ((b"RIFF",), WebPImageFile),
}

# EXIF orientation to what puts the image upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(raw: bytes) -> torch.Tensor:
    """Decode an image file to uint8 RGB (3, H, W): upright, first frame, transparent parts white. Thread-safe.

    The format is told by content, never by file name. Raises BadItem with the reason for anything else.
    """
    import torch

    return torch.from_numpy(decode_pixels(raw)).permute(2, 0, 1)  # (3, H, W)


def decode_pixels(raw: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The same as an array (H, W, 3), for callers that need no tensor."""
    if not raw:
        raise BadItem("empty file")
    kind = next((name for name, (starts, _) in FORMATS.items() if raw.startswith(starts)), None)
    if kind is None or (kind == "WEBP" and raw[8:12] != b"WEBP"):
        raise BadItem("not an image")
    try:
        if kind in {"GIF", "TIFF"} or (kind == "PNG" and b"acTL" in raw):
            with _quiet():
                return _decode(raw, kind)
        return _decode(raw, kind)
    except BadItem:
        raise
    except Exception as error:  # on damaged bytes the decoders raise nearly anything
        raise BadItem(_reason(raw, kind, error)) from error


def _decode(raw: bytes, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image: Image.Image = FORMATS[kind][1](io.BytesIO(raw))
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise BadItem(f"{width}x{height} pixels: over the limit of {MAX_MEGAPIXELS} megapixels")
    image.load()
    turn = UPRIGHT.get(_orientation(image.info.get("exif")))  # Pillow turns TIFF by itself
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))  # (H, W, 3)


def _eight_bits(
    deep: np.ndarray[tuple[int, ...], np.dtype[np.generic]], mode: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Grey of more than 8 bits (H, W) to 8: the high byte of 16 bits; wider numbers have no scale, so min to max."""
    if mode.startswith("I;16"):
        return (deep.astype(np.uint16) >> 8).astype(np.uint8)
    wide = np.nan_to_num(deep.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(wide.min()), float(wide.max())
    return ((wide - low) * (255 / (high - low) if high > low else 0.0)).round().astype(np.uint8)


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings about TIFF tags and animation frames; one at a time, as the filter is global."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
