"""The site of the documentation: every page has its place and its twin, Python in it parses, it builds strictly."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from source_files import ROOT

from msa.cli import app

PAGES = sorted((ROOT / "docs").glob("*.md"))
ENGLISH_ALONE = {"measurements.md", "results.md", "security.md"}


def test_every_page_is_in_the_navigation_once() -> None:
    # Not parsed: a tag in this file calls a function of a package that only a build needs.
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {path.name for path in PAGES} <= set(listed)


def test_every_page_has_its_chinese_twin() -> None:
    names = {path.name for path in PAGES}
    english = {name for name in names if not name.endswith(".zh.md")}
    assert {name.replace(".zh.md", ".md") for name in names - english} == english - ENGLISH_ALONE


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_in_the_pages_parses(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(block)


@pytest.mark.slow
def test_the_site_builds_without_a_dead_link_and_names_every_command(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if not command.hidden:
            assert f">msa {name}<" in page, name
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link)[^>]*(?:src|href)="https?://[^"]*"', home) == []
