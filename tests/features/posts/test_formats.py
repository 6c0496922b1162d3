"""The format of an image is told by its first bytes; what is no image is named, with what to do about it."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from msa.features.posts.formats import FORMATS, detect_format
from msa.features.spec import BadItem


@pytest.mark.parametrize("name", FORMATS)
def test_what_pillow_writes_is_recognised(name: str) -> None:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, name)
    assert detect_format(file.getvalue()) == name


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"<!DOCTYPE html><html>", "a saved web page; download"),
        (b"version https://git-lfs.github.com/spec/v1", "run git lfs pull"),
        (b"%PDF-1.7", "a PDF file; convert"),
        (b'{"error": 404}', "a server's error"),
        (b"PK\x03\x04rest", "a compressed file; unpack"),
        (b"not found", "a text that begins with 'not found'"),
        (b"\x00\x01\x02", "not an image"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, answer: str) -> None:
    with pytest.raises(BadItem, match=answer):
        detect_format(content)
