"""Thumbnails are small, upright and of the whole image; what is no image is refused with its reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msa.features.posts.export.thumbnail import thumbnail
from msa.features.spec import BadItem

SIDE = 160


def opened(raw: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(raw))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((640, 480), (SIDE, 120)), ((90, 900), (16, SIDE)), ((30, 20), (30, 20)), ((5000, 50), (SIDE, 2))],
)
def test_the_longer_side_is_bounded_and_small_images_stay(
    tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    assert opened(thumbnail(tmp_path / "a.png", SIDE)).size == wanted


def test_noise_stays_within_the_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = len(thumbnail(tmp_path / "a.png", SIDE))
    assert 2_500 < len(thumbnail(tmp_path / "a.png", SIDE, most=10_000)) <= 10_000 < whole


def test_photographs_are_upright_and_transparent_parts_white(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (400, 200)).save(tmp_path / "a.jpg", exif=exif)
    assert opened(thumbnail(tmp_path / "a.jpg", SIDE)).size == (80, SIDE)
    Image.new("RGBA", (40, 40)).save(tmp_path / "b.png")
    assert min(opened(thumbnail(tmp_path / "b.png", SIDE)).getpixel((20, 20))) > 250  # type: ignore[arg-type, type-var]


def test_what_is_no_image_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<svg/>")
    with pytest.raises(BadItem, match="SVG"):
        thumbnail(tmp_path / "a.jpg", SIDE)
    with pytest.raises(BadItem, match="unreadable"):
        thumbnail(tmp_path / "gone.jpg", SIDE)
