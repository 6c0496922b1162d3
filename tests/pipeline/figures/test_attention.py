"""Charts of an explanation: the overlay lands on the planted patch, the tables hold the numbers, texts are escaped."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import SIDE, image_spec

from msa.features.posts.samples import Sample
from msa.pipeline.explanation.explanation import Explanation, ImageAttention, LayerAttention, TextAttention
from msa.pipeline.explanation.geometry import Box, seen_box
from msa.pipeline.explanation.remarks import NO_BOX, Remark
from msa.pipeline.figures.attention import heat, overlay, patch_chart, post_charts
from msa.pipeline.figures.explanation_page import FILE, write_explanation
from msa.pipeline.figures.words import Words

EN = Words("en")
ROW, COLUMN = 1, 5


def planted_image(height: int, width: int) -> ImageAttention:
    """All attention on one patch of the default encoder's grid."""
    weights = np.zeros((SIDE, SIDE))
    weights[ROW, COLUMN] = 1.0
    layers = {"text_layers.0": np.stack([weights, weights])}
    return ImageAttention("lite", weights, layers, (height, width), seen_box(image_spec(), height, width))


def explanation(words: tuple[str, ...] = ("so", "happy"), name: str = "p1") -> Explanation:
    shares = np.array([0.25] + [0.75 / (len(words) - 1)] * (len(words) - 1))
    text = TextAttention("bert", words, shares, {"image_layers.0": np.stack([shares, shares])})
    layers = (
        LayerAttention("image_layers.0", "image", "text", {"words": 0.7, "text vector": 0.2, "nothing": 0.1}),
        LayerAttention("text_layers.0", "text", "image", {"patches": 0.6, "image vector": 0.3, "nothing": 0.1}),
    )
    opinions = {(): np.array([0.5, 0.5]), ("image",): np.array([0.9, 0.1]), ("text",): np.array([0.2, 0.8])}
    return Explanation(
        *(name, ("bad", "good"), "good", "bad", np.array([0.3, 0.7]), (2,), True),
        {"image": 0.25, "text": 0.75},
        opinions | {("image", "text"): np.array([0.3, 0.7])},
        layers,
        (planted_image(120, 200),),
        (text,),
    )


@pytest.mark.parametrize("shape", [(120, 200), (301, 150), (90, 90)])
def test_the_overlay_colours_the_pixels_of_the_planted_patch_alone(shape: tuple[int, int]) -> None:
    one = planted_image(*shape)
    assert one.box is not None
    high, wide = (one.box.bottom - one.box.top) / SIDE, (one.box.right - one.box.left) / SIDE
    rows, columns = np.nonzero(heat(one, *shape))
    assert (rows.min(), rows.max() + 1) == pytest.approx(
        (one.box.top + ROW * high, one.box.top + (ROW + 1) * high), abs=1
    )
    assert (columns.min(), columns.max() + 1) == pytest.approx(
        (one.box.left + COLUMN * wide, one.box.left + (COLUMN + 1) * wide), abs=1
    )
    shown = overlay(one, np.full((*shape, 3), 100, np.uint8))
    coloured = shown[..., 0].astype(int) - shown[..., 2] > 50
    assert np.array_equal(coloured, heat(one, *shape) > 0)
    inside = shown[int(one.box.top) + 1, int(one.box.left) + 1]
    assert inside.tolist() == [100, 100, 100]
    if one.box.top > 2:
        assert shown[0, 0].min() > 180  # what the encoder does not see is faded


def test_a_crop_beyond_a_small_picture_colours_what_is_inside() -> None:
    one = ImageAttention("lite", np.array([[0.5, 0.0], [0.0, 0.5]]), {}, (10, 40), Box(-5, 10, 15, 30))
    found = heat(one, 10, 40)
    assert found[:5, 10:20].min() == found[5:, 20:30].min() == 0.5
    assert found.sum() == pytest.approx(0.5 * 100)


def test_the_chart_of_patches_has_a_line_with_the_corners_of_each() -> None:
    chart = patch_chart(planted_image(120, 200), np.zeros((120, 200, 3), np.uint8), EN, "patches")
    assert chart.header == ["row", "column", "top", "left", "bottom", "right", "weight"]
    assert len(chart.rows) == SIDE * SIDE
    strongest = max(chart.rows, key=lambda row: float(row[-1]))  # type: ignore[arg-type]
    assert strongest[:2] == [ROW, COLUMN]
    box = planted_image(120, 200).box or Box(0, 0, 0, 0)
    assert strongest[2] == pytest.approx(box.top + (box.bottom - box.top) * ROW / SIDE)
    assert "the frame is what the encoder sees" in chart.caption


def test_without_a_picture_the_grid_alone_is_drawn() -> None:
    chart = patch_chart(replace(planted_image(120, 200), size=None, box=None), None, EN, "patches")
    assert "frame" not in chart.caption
    assert chart.rows[0][2:6] == [""] * 4


@pytest.mark.slow
def test_all_charts_have_files_of_their_own_and_the_numbers(tmp_path: Path) -> None:
    Image.new("RGB", (200, 120), "white").save(tmp_path / "a.png")
    out = tmp_path / "out"
    written = write_explanation(explanation(), Sample("p1", tmp_path / "a.png", "so happy"), out, run="r")
    assert written[0] == out / FILE
    names = ["opinions", "patches", "patches-heads", "words", "words-heads", "layers"]
    assert {path.stem for path in written[1:]} == set(names)
    assert {path.suffix for path in written[1:]} == {".png", ".svg", ".pdf", ".csv"}
    with (out / "words.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [["word", "weight"], ["so", "0.25"], ["happy", "0.75"]]
    with (out / "layers.csv").open(encoding="utf-8-sig", newline="") as file:
        header, first, second = csv.reader(file)
    assert header == ["layer", "image vector", "patches", "text vector", "words", "nothing"]
    assert first[0] == "image_layers.0: image → text"
    assert second[1:] == ["0.3", "0.6", "", "", "0.1"]


def page(tmp_path: Path, found: Explanation, **options: str) -> str:
    out = tmp_path / "page.html"
    assert write_explanation(found, Sample("p1", None, "x"), out, run="r", **options) == [out]  # type: ignore[arg-type]
    return out.read_text("utf-8")


def test_the_page_shows_prediction_label_opinions_weights_and_whose_heads(tmp_path: Path) -> None:
    text = page(tmp_path, explanation(), language="en")
    for shown in ("Post p1", "probability 0.700", "predicted wrong", "the heads of fold 2, which never saw the post"):
        assert shown in text
    assert "weight of image" in text
    assert "0.250" in text
    assert "Jain &amp; Wallace" in text
    assert 'style="--share: 0.750" title="75.0%">happy<' in text
    assert "default-src 'none'" in text


def test_hostile_words_and_ids_are_text(tmp_path: Path) -> None:
    hostile = ("<script>alert(1)</script>", '"><img onerror=x>', "\u202egnp", "a" * 100_000)
    text = page(tmp_path, explanation(hostile, name="<b>id</b>"))
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>" not in text
    assert "\u202e" not in text
    assert len(text) < 500_000


def test_the_page_in_chinese(tmp_path: Path) -> None:
    found = replace(explanation(), notes=(Remark(NO_BOX, {"encoder": "lite"}),))
    text = page(tmp_path, found, language="zh")
    for shown in ("帖子 p1", "预测错误", "第 2 折的头", "各层的注意力", "lite：其图块在图片中的位置未知"):
        assert shown in text
    assert "Mean over" not in text


def test_one_modality_has_no_opinions_to_compare() -> None:
    alone = replace(explanation(), opinions={("text",): np.array([0.3, 0.7]), (): np.array([0.5, 0.5])})
    chart = post_charts(alone, None, EN)[0]
    assert chart.rows == [["post", 0.3, 0.7]]
