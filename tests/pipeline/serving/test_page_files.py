"""The page is in two languages, loads nothing from elsewhere, and writes no text as HTML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from msa.pipeline import serving
from msa.pipeline.serving.words import CHINESE, PageWords, pick_language

FOLDER = Path(serving.__file__).parent / "static"
FILES = sorted(FOLDER.iterdir())


def texts(file: Path) -> set[str]:
    """The English texts of a template (`t("…")`) or a script (`say("…")`, and sentences that are chosen from)."""
    content = file.read_text("utf-8")
    return {double or single for double, single in re.findall(r"""\b(?:t|say)\((?:"([^"]+)"|'([^']+)')""", content)}


def test_every_text_has_a_translation_and_every_translation_a_use() -> None:
    used = set().union(*map(texts, FILES))
    assert used - {*CHINESE} == set()
    everything = "".join(file.read_text("utf-8") for file in [*FILES, FOLDER.parent / "page.py"])
    assert [text for text in CHINESE if text not in everything] == []
    for english, chinese in CHINESE.items():
        assert {*re.findall(r"{\w+}", english)} == {*re.findall(r"{\w+}", chinese)}, english
        assert re.search(r"[\u4e00-\u9fff]", chinese), english


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_name_no_other_host_and_hold_nothing_inline(file: Path) -> None:
    content = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(?:https?:)?//[\w-]+\.", content)
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! src=)|javascript:|@import", content)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\|\s*safe", content)


@pytest.mark.parametrize(
    ("asked", "stored", "accepted", "language"),
    [
        (None, None, "", "en"),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, None, "en-GB,zh;q=0.9", "en"),
        (None, None, "de,zh-TW;q=0.3,en;q=0.2", "zh"),
        (None, None, "zh;q=0.1,en;q=x,en;q=0.2", "en"),
        (None, "zh", "en", "zh"),
        ("en", "zh", "zh", "en"),
        ("fr", "xx", "*", "en"),
    ],
)
def test_the_language_is_the_first_that_is_known(
    asked: str | None, stored: str | None, accepted: str, language: str
) -> None:
    assert pick_language(asked, stored, accepted) == language


def test_a_text_that_has_no_translation_fails_in_english_too() -> None:
    for language in ("en", "zh"):
        with pytest.raises(KeyError):
            PageWords(language)("a text that nobody translated")  # type: ignore[arg-type]
