"""Small copies of images, for pages."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from .images import decode_pixels
from .samples import read_file

SIDE = 160  # pixels of the longer side
MOST = 10_000  # bytes
QUALITIES = (80, 60, 40, 20)  # of JPEG; noise of SIDE x SIDE pixels has 6 kB at the last


def thumbnail(path: Path, side: int = SIDE) -> bytes:
    """A JPEG of the image in a file, read as for embedding: at most `side` pixels, and MOST bytes where that is SIDE.

    Raises BadItem where the file cannot be read or decoded.
    """
    image = Image.fromarray(decode_pixels(read_file(path, "image")))
    image.thumbnail((side, side))
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= MOST:
            break
    return file.getvalue()
