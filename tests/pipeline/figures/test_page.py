"""The page is one file that needs no other, says everything in both languages, and shows any text as text."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from figure_runs import MADE, stored_run
from source_files import ROOT

from msa.pipeline.explanation import remarks
from msa.pipeline.explanation.explanation import TARGETS
from msa.pipeline.figures.html import FOLDER
from msa.pipeline.figures.markdown import PLACES
from msa.pipeline.figures.page import render_page
from msa.pipeline.figures.sections import make_sections
from msa.pipeline.figures.words import CHINESE, Words
from msa.pipeline.metrics.scores import METRICS
from msa.pipeline.metrics.tables import metric_title
from msa.pipeline.runs.stored_run import StoredFold, StoredRun

NASTY = ('<script>alert("1")</script>', '"><img src=x onerror=alert(1)>', "\u202eevil & {{ 7*7 }}")


class Tags(HTMLParser):
    """Counts tags and ids, and collects attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.texts = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids.update(value or "" for name, value in attrs if name == "id")

    def handle_data(self, data: str) -> None:
        self.texts += data


def page(*runs: StoredRun, language: str = "en") -> str:
    words = Words(language)  # type: ignore[arg-type]
    return render_page(runs, make_sections(runs, words), words)


def test_one_run_has_its_headline_charts_tests_and_changed_settings() -> None:
    found = Tags(page(stored_run()))
    for text in ("95 % interval 0.600 to 0.800", "images + texts", "2030-01-02", "Loss over epochs", "ROC curves"):
        assert text.lower() in found.texts.lower(), text
    assert found.tags["svg"] == found.tags["figure"] == 9
    assert re.search(r"linear\s*\+0\.100\s*\+0\.100\s*0\.030 \*\s*0\.040 \*", found.texts)
    assert re.search(r"hidden\s*12\s*epochs\s*3\s", found.texts)
    assert "dropout" not in found.texts


def test_the_page_tells_how_the_run_was_made_and_shows_its_parts_in_order() -> None:
    run = replace(stored_run(), made=MADE)
    html = page(run)
    found = Tags(html)
    for fact in (r"Data\s*corpus \(50 posts\)", r"Date\s*2030-01-02\s", r"Version\s*msa 9\.9"):
        assert re.search(fact, found.texts, re.IGNORECASE), fact
    assert "msa train-head posts" in found.texts
    parts = re.findall(r"<h2>(.*?)</h2>", html)
    wanted = ["Head and baselines", "Training", "Classes", "Probabilities", "Posts", "Optimization", "Cost", "Settings"]
    assert parts == wanted
    twice = page(run, replace(stored_run("two"), made=MADE | {"version": "9.8", "command": "msa train-head others"}))
    assert re.search(r"version\s*msa 9\.9, 9\.8", Tags(twice).texts)
    assert re.search(r"msa train-head posts\s*msa train-head others", re.sub("<[^>]*>", " ", twice))
    assert "<pre" not in page(stored_run())


def test_several_runs_are_compared_with_the_first() -> None:
    found = Tags(page(stored_run(), replace(stored_run("two"), history=[])))
    assert re.search(r"two\s*(\+0\.000 \[\+0\.000, \+0\.000\]\s*){2}1\.000\s*1\.000\s*10\b", found.texts)
    assert "0.600 to 0.800" not in found.texts
    apart = stored_run("far")
    assert apart.predictions
    assert apart.split
    other = [(f"elsewhere{number}", "0") for number in range(10)]
    folds = [StoredFold(0, frozenset(), frozenset(name for name, _ in other[start : start + 5])) for start in (0, 5)]
    apart = replace(apart, predictions=apart.predictions._replace(posts=other), split=apart.split._replace(folds=folds))
    assert re.search(r"far\s*–\s*–\s*–\s*–\s*0\b", Tags(page(stored_run(), apart)).texts)


def test_any_text_is_shown_as_text_and_nothing_is_loaded_or_run() -> None:
    run = stored_run('<b onclick="x">run', NASTY)
    run = replace(run, config=run.config | {"head": {"fusion": "</style><script>", "hidden": NASTY[1]}})
    text = page(run, stored_run("two"))
    alone = page(run)
    for html in (text, alone):
        found = Tags(html)
        assert not {"script", "img", "b", "link", "iframe", "object"} & set(found.tags)
        assert not [name for name, _ in found.attributes if name.startswith("on")]
        loaded = [value for name, value in found.attributes if name in ("src", "href", "xlink:href")]
        assert [value for value in loaded if not value.startswith("#")] == []
        policy = next(value for name, value in found.attributes if name == "content")
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
        assert max(found.ids.values()) == 1
        assert "\u202e" not in html
    assert NASTY[0] in Tags(alone).texts
    assert "x" * 400 in Tags(page(stored_run("x" * 100_000))).texts
    assert "x" * 501 not in page(stored_run("x" * 100_000))
    assert "\\u202eevil & {{ 7*7 }}" in Tags(alone).texts


def test_a_page_in_chinese_has_no_english_sentence() -> None:
    text = page(stored_run(), language="zh")
    assert '<html lang="zh-CN">' in text
    for word in ("混淆矩阵", "召回率", "95 % 置信区间 0.600 至 0.800", "各折均值"):
        assert word in text
    assert "Mean over" not in text


def used_words() -> set[str]:
    """Every literal that is passed to `words(…)` in the figures and the template."""
    templates = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.html"))
    found = set(re.findall(r'words\("([^"]*)"\)', templates))
    for path in (path for room in ("figures", "inspection") for path in (ROOT / "pipeline" / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("words", "self.words"):
                found |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
    return found


def test_every_text_has_a_translation_and_every_translation_a_text() -> None:
    used = used_words()
    assert len(used) > 40
    assert sorted(used - CHINESE.keys()) == []
    through_variables = {*map(metric_title, METRICS), "loss", "f1", "support", "class", "minus", "corrected t p"}
    through_variables |= {"posts scored", "folds", "repeats", "training", "validation", "image", "text", "recall"}
    through_variables |= {*TARGETS, *(value for name, value in vars(remarks).items() if name.isupper())}
    through_variables |= {"Paired tests on the same test rows", "McNemar p", *PLACES}
    through_variables |= {"learning rate", "complete", "pruned", "image and text", "group"}
    assert sorted(CHINESE.keys() - used - through_variables) == []


@pytest.mark.parametrize(
    ("variables", "language"),
    [({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_CN", "LC_ALL": "C"}, "en"), ({}, "en"), ({"LANG": "de_DE"}, "en")],
)
def test_the_locale_chooses_the_language(
    variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Words("auto").language == language
    assert Words("en").language == "en"
