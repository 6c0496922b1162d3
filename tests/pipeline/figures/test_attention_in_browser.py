"""The page of an explanation and the report's section in Chromium: sound, wide and narrow, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from browser import open_browser, open_window
from PIL import Image
from planted import SIDE, image_spec

from msa.features.posts.samples import Sample
from msa.pipeline.explanation.explanation import Explanation, ImageAttention, LayerAttention, TextAttention
from msa.pipeline.explanation.geometry import seen_box
from msa.pipeline.figures.explanation_page import write_explanation

pytestmark = pytest.mark.slow


def found(words: tuple[str, ...]) -> Explanation:
    grid = np.arange(SIDE * SIDE, dtype=float).reshape(SIDE, SIDE)
    image = ImageAttention("lite", grid / grid.sum(), {"layer": grid[None]}, (90, 160), seen_box(image_spec(), 90, 160))
    weights = np.full(len(words), 1 / len(words))
    text = TextAttention("bert", words, weights, {"layer": weights[None]})
    layer = LayerAttention("layer", "both", "both", {"words": 0.5, "patches": 0.5, "nothing": 0.0})
    p = np.array([0.4, 0.6])
    opinions = {("image",): p, ("text",): p, ("image", "text"): p}
    return Explanation(
        "p1",
        ("a", "b"),
        "b",
        "a",
        p,
        (0,),
        True,
        {},
        opinions,
        (layer,),
        (image,),
        (text,),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_sound(tmp_path: Path, language: Literal["en", "zh"]) -> None:
    Image.new("RGB", (160, 90), "teal").save(tmp_path / "a.png")
    words = ("so", "<script>alert(1)</script>", "שלום", "a" * 3000, "今")
    page = tmp_path / "page.html"
    write_explanation(found(words), Sample("p1", tmp_path / "a.png", "so"), page, run="r", language=language)
    with open_browser() as browser:
        for width, dark in ((1200, False), (1200, True), (390, False), (390, True)):
            with open_window(browser, page.as_uri(), width=width, dark=dark) as window:
                window.assert_sound()
                picture = window.page.locator("svg image").first
                box = picture.bounding_box()
                assert box["width"] > box["height"] > 50
