"""The page in Chromium: upload, predict, overlay, browse, filter, both languages, light and dark, wide and narrow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from browser import open_browser, open_window
from served_runs import COLOURS, N, Served, picture, running, served_run

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)").expect
pytestmark = pytest.mark.slow
SIZES = pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True), (390, False), (1200, True)])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served_run(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with running(served.service(), accuracy=0.5) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture whose halves differ."""
    halves = [Image.open(io.BytesIO(picture(COLOURS[name], 9))) for name in ("glad", "upset")]
    both = Image.new("RGB", (80, 30))
    for number, half in enumerate(halves):
        both.paste(half, (40 * number, 0))
    both.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# How dark the overlay is on each of the four patches: alpha, 0 to 255.
BRIGHTNESS = """() => { const canvas = document.querySelector('.overlay canvas');
    const [w, h] = [canvas.width, canvas.height], context = canvas.getContext('2d');
    const places = [[.4, .3], [.6, .3], [.4, .7], [.6, .7]];
    return places.map(([x, y]) => context.getImageData(x * w, y * h, 1, 1).data[3]) }"""


@SIZES
def test_a_picture_and_a_text_are_predicted_and_explained(
    browser: Any, address: str, photo: Path, width: int, dark: bool
) -> None:
    with open_window(browser, address, width=width, dark=dark) as window:
        page = window.page
        window.assert_sound()
        page.set_input_files("#image", photo)
        page.wait_for_selector("#preview", state="visible")
        page.fill("#text", "what a lovely day")
        page.click("#post button.primary")
        page.wait_for_selector("#verdict")
        assert page.inner_text("#verdict") in COLOURS
        assert page.locator("#result > .bars dt").all_inner_texts() == sorted(COLOURS)
        assert page.locator(".opinions > div").count() == 2
        assert page.locator(".words span").all_inner_texts() == ["what", "a", "lovely", "day"]
        page.wait_for_function(f"({BRIGHTNESS})().some((one, at, all) => one != all[0])")  # patches differ
        page.locator("#strength").fill("0")
        page.wait_for_function(f"({BRIGHTNESS})().every((one) => one == 0)")
        page.locator("#strength").fill("100")
        page.select_option("#layer", index=1)
        expect(page.locator("#nearest .post")).to_have_count(6)
        assert page.locator("#nearest .thumb").all_inner_texts() == [""] * 6  # no word in place of a picture
        window.assert_sound()
        page.click("#remove")
        page.wait_for_selector("#preview", state="hidden")
        page.click("#clear")
        expect(page.locator("#verdict")).to_have_count(0)


def test_a_dropped_file_is_taken_and_a_file_that_is_no_picture_is_refused(
    browser: Any, address: str, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("<script>alert(1)</script>")
    with open_window(browser, address) as window:
        page = window.page
        drop = """(bytes) => { const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], 'x.png'));
            const dropped = new DragEvent('drop', { dataTransfer: given, cancelable: true });
            document.getElementById('drop').dispatchEvent(dropped) }"""
        page.evaluate(drop, [*picture(COLOURS["upset"], 3)])
        page.click("#post button.primary")
        page.wait_for_selector("#verdict")
        page.set_input_files("#image", tmp_path / "page.html")
        page.click("#post button.primary")
        page.wait_for_selector("#result .error")
        assert "This is not an image that can be read." in page.inner_text("#result")
        assert "must be JPEG" in page.inner_text("#result")
        page.click("#clear")
        page.click("#post button.primary")
        page.wait_for_selector("#result .error")
        window.assert_sound()


@SIZES
def test_posts_are_browsed_filtered_and_explained(browser: Any, address: str, width: int, dark: bool) -> None:
    with open_window(browser, f"{address}/#posts", width=width, dark=dark) as window:
        page = window.page
        page.wait_for_selector("#posts .post")
        assert page.inner_text("#total") == f"{N} posts"
        assert page.locator("#posts .post").count() == 24
        page.click("#next")
        expect(page.locator("#place")).to_have_text("page 2 of 2")
        window.assert_sound()
        page.select_option("#label", "glad")
        page.fill("#search", "lovely day 1")
        expect(page.locator("#total")).to_have_text("4 posts")
        page.fill("#search", "onerror")
        page.select_option("#label", "")
        expect(page.locator("#total")).to_have_text("2 posts")
        assert (
            page.locator("#posts .excerpt").first.inner_text() == '<script>alert(1)</script> "><img onerror=alert(1)>'
        )
        expect(page.locator("#posts .thumb").first).to_have_text("picture cannot be read")
        page.fill("#search", "p10")
        expect(page.locator("#total")).to_have_text("1 posts")
        page.click("#posts .post")
        page.wait_for_selector("dialog[open] .bars")
        window.assert_sound()
        page.click("dialog .primary")
        page.wait_for_selector("#verdict")
        page.wait_for_selector("#view-try", state="visible")
        assert "predicted by the heads that never saw it" in page.inner_text("#result")
        assert page.inner_text(".given h3") == "p10"
        expect(page.locator("#nearest .post")).to_have_count(6)
        page.go_back()
        page.wait_for_selector("#view-posts", state="visible")
        window.assert_sound()


def test_the_page_is_in_chinese_for_a_chinese_browser_and_can_be_turned(
    browser: Any, address: str, photo: Path
) -> None:
    with open_window(browser, address, locale="zh-CN") as window:
        page = window.page
        assert page.inner_text("#post button.primary") == "预测"
        page.set_input_files("#image", photo)
        page.fill("#text", "what a lovely day")
        page.click("#post button.primary")
        page.wait_for_selector("#verdict")
        for text in ("预测结果", "校准后的概率", "各模态单独的预测", "注意力", "最近的训练帖子"):
            assert text in page.inner_text("main")
        window.assert_sound()
        page.click("[data-view=posts]")
        page.wait_for_selector("#posts .post")
        expect(page.locator("#total")).to_have_text(f"{N} 条帖子")
        page.click("text=English")
        expect(page.locator("#total")).to_have_text(f"{N} posts")
        page.reload()
        assert page.inner_text(".views [aria-current]") == "Posts of the data set"
        window.assert_sound()


def test_a_page_with_a_token_asks_for_it(browser: Any, served: Served) -> None:
    with running(served.service(), token="correct-horse-battery") as url, open_window(browser, url) as window:
        page = window.page
        window.assert_sound()
        page.fill("#token", "wrong")
        page.click("button")
        assert page.inner_text("#wrong") == "The token is wrong."
        window.assert_sound()
        page.fill("#token", "correct-horse-battery")
        page.click("button")
        page.wait_for_selector("#post")
        page.fill("#text", "what a lovely day")
        page.click("#post button.primary")
        page.wait_for_selector("#verdict")
        window.assert_sound()
