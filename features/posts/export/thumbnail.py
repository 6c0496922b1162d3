"""Small copies of images, for pages."""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image

from ...blob import Blob
from ..images import decode_pixels
from ..samples import read_file

QUALITIES = (80, 60, 40, 20)  # of JPEG; noise of 160 x 160 pixels has 6 kB at the last


def thumbnail(source: Path | Blob, side: int, *, most: float = math.inf) -> bytes:
    """A JPEG of an image, read as for embedding: at most `side` pixels wide and high.

    Its quality is lowered as long as it has more than `most` bytes. Raises BadItem where it cannot be read or
    decoded.
    """
    image = Image.fromarray(decode_pixels(read_file(source, "image")))
    image.thumbnail((side, side))
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= most:
            break
    return file.getvalue()
