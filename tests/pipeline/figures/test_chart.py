"""Charts become inline SVG and files; any text of a label is shown as it is."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib import font_manager

from msa.features.messages import Notice
from msa.pipeline.figures import chart as module
from msa.pipeline.figures.chart import GRID, TEXT, Chart, colours, drawing, legend, short

HOSTILE = ('<script>"', "_x", "$a$ \\frac", ' id="m1"', TEXT, "\u202eabc", "a\nb")


def draw(*labels: str) -> Chart:
    with drawing() as (figure, axes):
        handles = [axes.plot([0, 1], [number, 1], "o-")[0] for number in range(len(labels))]
        legend(axes, handles, labels)
        axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    return Chart("name", 'A "title" <b>', "", figure, ["label", "value"], [[label, 1] for label in labels])


def test_inline_svg_shows_any_label_and_takes_the_colours_of_the_page() -> None:
    svg = draw(*HOSTILE).to_svg()
    texts = ["".join(one.itertext()).strip() for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    for label in ('<script>"', "_x", "$a$ \\frac", 'id="m1"', TEXT, "\\u202eabc", "a b"):
        assert texts.count(label) == 2, label
    assert "<script>" not in svg
    assert "currentColor" in svg
    assert "var(--grid)" in svg
    assert GRID not in svg
    assert "<style" not in svg
    assert svg.startswith('<svg role="img" aria-label="A &quot;title&quot; &lt;b&gt;" ')
    assert svg == draw(*HOSTILE).to_svg()


def test_files_hold_the_figure_in_three_formats_and_its_numbers(tmp_path: Path) -> None:
    written = draw("=1+1", "b").write(tmp_path / "figures")
    assert sorted(path.name for path in written) == ["name.csv", "name.pdf", "name.png", "name.svg"]
    content = {path.suffix: path.read_bytes() for path in written}
    assert content[".png"].startswith(b"\x89PNG")
    assert content[".pdf"].startswith(b"%PDF")
    width = int.from_bytes(content[".png"][16:20], "big")
    assert width == round(module.WIDTH * 300)
    ET.fromstring(content[".svg"])
    lines = csv.reader(content[".csv"].decode("utf-8-sig").splitlines())
    assert list(lines) == [
        ["label", "value"],
        ["'=1+1", "1"],
        ["b", "1"],
    ]


def test_characters_that_no_font_has_are_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_fonts", lambda: ["DejaVu Sans"])
    assert "情感" in draw("情感").to_svg()
    with pytest.warns(Notice, match=r"no installed font has some characters .* `apt-get install fonts-noto-cjk`"):
        draw("情感").write(tmp_path)


def test_a_font_that_was_installed_after_matplotlib_listed_them_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = list(font_manager.fontManager.ttflist)
    file = next(font.fname for font in fonts if font.name == "DejaVu Serif")
    listed = [font for font in fonts if font.name != "DejaVu Serif"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [__file__, file])
    monkeypatch.setattr(module, "CHINESE_FONTS", ("Other", "DejaVu Serif"))
    assert module._fonts.__wrapped__() == ["DejaVu Sans", "DejaVu Serif"]
    monkeypatch.setattr(module, "CHINESE_FONTS", ("Other",))
    assert module._fonts.__wrapped__() == ["DejaVu Sans"]


def test_a_chart_of_many_names_grows_with_its_legend() -> None:
    few, many = draw("a", "b"), draw(*(f"name {number}" for number in range(40)))
    assert few.figure.legends == []
    assert few.figure.get_size_inches()[1] == module.HEIGHT
    assert len(many.figure.legends[0].get_texts()) == 40
    assert many.figure.axes[0].get_legend() is None
    assert many.figure.get_size_inches()[1] > 2 * module.HEIGHT
    many.to_svg()  # a warning of matplotlib where a legend leaves no room would be an error


def test_there_are_colours_for_any_number_of_lines() -> None:
    assert [len({*colours(count)}) for count in (1, 8, 9, 40)] == [1, 8, 9, 40]


def test_names_are_short_and_in_one_line() -> None:
    assert short("a" * 100, 10) == "aaaaaaaaa…"
    assert short("x\r\n y") == "x\\r y"
    assert short("") == "''"
