"""Recognises the format of an image by its first bytes, and names what else a file may hold in place of one."""

from __future__ import annotations

import re
from functools import partial

from PIL import Image, ImageFile, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..spec import BadItem

HEAD = 4096  # bytes that are searched
CONVERT, AGAIN = "convert it to JPEG or PNG", "download the image again"


class _Jpeg(JpegImageFile):
    def getexif(self) -> Image.Exif:
        """Empty: Pillow reads the resolution here, and would warn of damaged metadata or fail on it."""
        return Image.Exif()


_first_bytes = partial(re.compile, flags=re.DOTALL)

# Image.open is not used: it would start decoders of rare formats, warn of its own size limit, and refuse larger images
# before their size is known.
FORMATS: dict[str, tuple[re.Pattern[bytes], type[ImageFile.ImageFile]]] = {
    "JPEG": (_first_bytes(rb"\xff\xd8\xff"), _Jpeg),
    "PNG": (_first_bytes(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    "GIF": (_first_bytes(rb"GIF8[79]a"), GifImageFile),
    "BMP": (_first_bytes(rb"BM"), BmpImageFile),
    "TIFF": (_first_bytes(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    "WEBP": (_first_bytes(rb"RIFF....WEBP"), WebPImageFile),
}
if features.check("avif"):
    from PIL.AvifImagePlugin import AvifImageFile

    FORMATS["AVIF"] = _first_bytes(rb"....ftypavi[fs]"), AvifImageFile

TEXT = re.compile(rb"[\t\n\r -~]+")
OTHERS = {
    f"{name}; {remedy}": _first_bytes(rb"(?:\xef\xbb\xbf)?\s*" + begins)
    for name, remedy, begins in (
        ("an AVIF image, which this Pillow was built without", "pip install -U pillow", rb"....ftypavi[fs]"),
        ("a HEIC image, which is not read", CONVERT, rb"....ftyp(?:hei|hev|mif1|msf1)"),
        ("a JPEG 2000 image, which is not read", CONVERT, rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("a JPEG XL image, which is not read", CONVERT, rb"\0\0\0\x0cJXL |\xff\x0a"),
        ("an SVG drawing, which is not read", CONVERT, rb"(?:<(?:\?xml|!--|!DOCTYPE svg)[^>]*>\s*)*<svg\b"),
        ("an EPS drawing, which is not read", CONVERT, rb"%!PS-Adobe"),
        ("a Photoshop file, which is not read", CONVERT, rb"8BPS"),
        ("a PDF file", CONVERT, rb"%PDF-"),
        ("a video", "save one of its frames as JPEG or PNG", rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI "),
        ("a compressed file", "unpack it", rb"PK\x03\x04|\x1f\x8b"),
        ("a pointer of Git LFS in place of the image", "run git lfs pull in its folder", rb"version https://git-lfs"),
        (
            "a pointer of git-annex in place of the image",
            "run git annex get in its folder",
            rb"[./a-z]*/annex/objects/",
        ),
        ("a saved web page", AGAIN, rb"<(?i:!doctype html|html|head|body)\b"),
        ("XML or JSON, perhaps a server's error", AGAIN, rb"<\?xml|\{\s*\""),
    )
}


def detect_format(raw: bytes) -> str:
    """The name in FORMATS. Raises BadItem that says what the file is, as far as it is known, and what to do."""
    head = raw[:HEAD]
    for name, (begins, _) in FORMATS.items():
        if begins.match(head):
            return name
    what = next((what for what, begins in OTHERS.items() if begins.match(head)), None)
    if what is None and TEXT.fullmatch(head):
        what = f"a text that begins with {head[:40].decode()!r}; {AGAIN}"
    raise BadItem(what or "not an image")
