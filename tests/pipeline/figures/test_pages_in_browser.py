"""Three reports in headless Chromium: no console error, no request, no serious fault of axe-core, narrow and wide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser, open_window
from cached_posts import HEAD, QUICK, cached_posts, stage
from cached_sweeps import search

from msa.pipeline.ablation.ablate import ablate
from msa.pipeline.config.search_config import Search
from msa.pipeline.evaluation.curves import learning_curve
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.figures.report import write_report
from msa.pipeline.train_head import train_head

pytestmark = pytest.mark.slow
HOSTILE = '<script>document.title = "run"</script>"><img src=x onerror="document.title = 1">\u202etxt'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of one run with hostile names and a text of 100 kB, that of a sweep, and that of everything at once."""
    folder = tmp_path_factory.mktemp("pages")
    corpus = cached_posts(folder)
    short, runs = replace(QUICK, epochs=2), folder / "runs"
    first = train_head(corpus, stage(corpus), HEAD, short, runs=runs).run
    evaluate_run(first, corpus, missing="both")
    second = train_head(corpus, stage(corpus), replace(HEAD, fusion="concat", inputs="pooled"), short, runs=runs).run
    curve = learning_curve(corpus, stage(corpus), replace(HEAD, inputs="pooled"), short, shares=[0.5, 1.0], runs=runs)
    ablation = ablate(corpus, stage(corpus), replace(HEAD, inputs="pooled"), short, runs=runs)
    sweep = search(corpus, runs, Search(trials=9, inner=2, halving=2))
    every = [first, second, curve.path, ablation.path, sweep.path]
    found = {
        "sweep": write_report([sweep.path], language="zh").path,
        "all": write_report(every, out=folder / "all.html", language="en").path,
    }
    hostile = first.rename(first.with_name("<i>run & co"))
    config = json.loads((hostile / "config.json").read_text())
    config["made"]["command"] = HOSTILE + "x" * 100_000
    config["made"]["data"]["name"] = HOSTILE
    config["head"]["fusion"] = HOSTILE
    (hostile / "config.json").write_text(json.dumps(config))
    return found | {"run": write_report([hostile], language="en").path}


@pytest.mark.parametrize("name", ["run", "sweep", "all"])
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False), (390, True)])
def test_a_page_has_no_fault(browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    with open_window(browser, pages[name].as_uri(), width=width, dark=dark) as window:
        window.assert_sound()
        assert window.page.locator("svg").count() >= 7
        policy = window.page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
        assert policy.startswith("default-src 'none'")


def test_hostile_texts_are_texts(browser: Any, pages: dict[str, Path]) -> None:
    with open_window(browser, pages["run"].as_uri()) as window:
        assert window.page.title() == "<i>run & co"
        assert window.page.locator("script, main img[src='x'], header img").count() == 0
        command = window.page.locator(".command").inner_text()
        assert command.startswith(HOSTILE.replace("\u202e", "\\u202e"))
        assert len(command) > 100_000


def test_a_page_prints_without_cut_tables(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    with open_window(browser, pages["all"].as_uri(), width=720) as window:
        window.page.emulate_media(media="print")
        wide = window.page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
        )
        assert wide == 0
        window.page.pdf(path=tmp_path / "all.pdf", format="A4")
    assert (tmp_path / "all.pdf").stat().st_size > 20_000
