"""Posts in the report: any text is shown as text, pictures are embedded and bounded, and what is missing is told."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import open_browser, open_window
from PIL import Image
from shown_posts import COUNT, shown_posts, trained

from msa.features.posts.samples import Corpus
from msa.pipeline.figures import chart
from msa.pipeline.figures.report import write_report
from msa.pipeline.figures.section import Shown
from msa.pipeline.inspection import sources
from msa.pipeline.inspection.post_cards import SHOWN

HOSTILE = {
    4: '<script>alert("1")</script>',
    23: '"><img src=x onerror=alert(1)> {{ 7*7 }}',
    42: "\u202eturned\u202c مرحبا",
    61: "y" * 100_000,
}
FLIPPED = {4: "c", 23: "a", 42: "b", 61: "c", 77: "a"}  # so that these posts are in the lists
CONFLICT = {9: "b"}
MOST = 1_000_000  # bytes of a page with pictures that are noise


class Cards(HTMLParser):
    """The texts inside `<bdi>`, the sources of images, and every tag and attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.isolated: list[str] = []
        self.images: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.images += [value or "" for name, value in attrs if tag == "img" and name == "src"]
        self.inside = tag == "bdi"
        self.isolated += [""] * self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.isolated[-1] += data


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return shown_posts(tmp_path_factory.mktemp("posts"), texts=HOSTILE, labels=FLIPPED | CONFLICT)


@pytest.fixture(scope="module")
def run(corpus: Corpus) -> Path:
    return trained(corpus)


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    """The page that training itself writes."""
    return (run / "report.html").read_text("utf-8")


def posts_of(page: str) -> Cards:
    return Cards("".join(re.findall(r'<ol class="posts">.*?</ol>', page, re.DOTALL)))


def test_hostile_texts_are_shown_as_text(page: str) -> None:
    found = posts_of(page)
    assert HOSTILE[4] in found.isolated
    assert HOSTILE[23] in found.isolated
    assert "\\u202eturned\\u202c مرحبا" in found.isolated
    assert any(text == f"{'y' * (len(text) - 1)}…" and 100 < len(text) < 300 for text in found.isolated)
    assert "y" * 1000 not in page
    assert not {"script", "iframe", "object", "link"} & Cards(page).tags
    assert not [name for name in found.attributes if name.startswith("on")]


def test_pictures_are_small_data_within_a_bound(page: str) -> None:
    """Each picture is noise, the largest that a JPEG can be."""
    found = posts_of(page)
    assert len(found.images) == page.count('<li><div class="post">') > 2 * SHOWN
    for source in found.images:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        raw = base64.b64decode(data, validate=True)
        assert 1000 < len(raw) <= sources.MOST
        assert max(Image.open(io.BytesIO(raw)).size) == sources.SIDE
    assert len(page) < MOST


def test_lists_have_the_planted_posts(page: str) -> None:
    lists = dict(re.findall(r'<div class="list"><h3>(.*?)</h3>.*?<ol class="posts">(.*?)</ol>', page, re.DOTALL))
    assert list(lists) == [
        *("Highest loss", "Image and text disagree", "Likely label errors", "Duplicates with different labels")
    ]
    for name in ("Highest loss", "Likely label errors"):
        assert {f"p{number}" for number in FLIPPED} < set(posts_of(f'<ol class="posts">{lists[name]}</ol>').isolated)
    shown = posts_of(f'<ol class="posts">{lists["Duplicates with different labels"]}</ol>').isolated
    assert {"p8", "p9", "image and text", "c 1, b 1"} <= set(shown)


def test_what_cannot_be_shown_is_told(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.png").write_bytes(b"no image")
    samples = [replace(one, image=broken if number % 2 else None) for number, one in enumerate(corpus.samples)]
    shown = Shown(corpus=replace(corpus, samples=samples))
    page = write_report([run], out=tmp_path / "a.html", language="en", shown=shown).path.read_text("utf-8")
    assert posts_of(page).images == []
    assert "image: changed since the run" in page
    copy = Path(shutil.copytree(run, tmp_path / "run with space"))
    page = write_report([copy], language="en").path.read_text("utf-8")
    assert posts_of(page).images == []
    assert "p61" in posts_of(page).isolated
    assert f"msa report &#39;{copy}&#39; --posts POSTS" in page


def test_a_head_of_one_modality_says_that_none_are_compared(corpus: Corpus) -> None:
    page = (trained(corpus, "text") / "report.html").read_text("utf-8")
    assert "The head reads one modality" in page
    assert "Highest loss" in page
    assert "Image and text disagree" not in page
    assert "Shapley values of posts" not in page


def test_chinese_several_runs_and_the_tables_of_figures(
    run: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "FORMATS", ("svg",))  # the others take seconds
    report = write_report(
        [run], out=tmp_path / "zh.html", figures=tmp_path / "figures", language="zh", shown=Shown(corpus=corpus)
    )
    page = report.path.read_text("utf-8")
    assert all(text in page for text in ("损失最高", "图像与文本不一致", "可能的标签错误", "标签不同的重复帖子"))
    assert not re.search("Highest loss|Jensen-Shannon divergence|Shapley value of", page)
    names = {"posts.csv", "disagreements.csv", "label-errors.csv", "duplicates.csv", "shapley-posts.csv"}
    assert names <= {path.name for path in report.figures}
    text = (tmp_path / "figures" / "posts.csv").read_text("utf-8-sig")
    assert "y" * 100_000 in text
    assert text.count("\n") >= COUNT + 1
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert '<ol class="posts">' not in write_report([run, other], out=tmp_path / "two.html").path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_browser_shows_every_picture_and_runs_nothing(run: Path, page: str, width: int, dark: bool) -> None:
    assert page.count("<img") > SHOWN
    with (
        open_browser() as browser,
        open_window(browser, (run / "report.html").as_uri(), width=width, dark=dark) as window,
    ):
        sizes = window.page.evaluate("[...document.querySelectorAll('.posts img')].map(one => one.naturalWidth)")
        assert len(sizes) == page.count('<img src="data:')
        assert set(sizes) == {sources.SIDE}
        window.assert_sound()
