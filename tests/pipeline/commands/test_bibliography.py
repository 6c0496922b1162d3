"""`msa recipes --bibtex`: an entry for each published source, and every recipe named once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from msa.cli import run_command
from msa.pipeline.commands import recipes


def test_every_recipe_is_cited_or_named_as_without_a_publication(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recipes", "--bibtex"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("@") == len(list(recipes.FOLDER.glob("*.bib"))) >= 1
    cited, _, lacking = printed.partition("% No publication is known")
    names = {part: set(re.findall(r"[\w-]+", "".join(re.findall(r"% .*", part)))) for part in (cited, lacking)}
    for recipe in recipes.read_recipes():
        has_entry = (recipes.FOLDER / f"{recipe.report}.bib").exists()
        assert (recipe.name in names[cited], recipe.name in names[lacking]) == (has_entry, not has_entry)
    assert all(line.startswith("% ") for line in lacking.splitlines()[1:])


def test_entries_are_well_formed() -> None:
    for file in recipes.FOLDER.glob("*.bib"):
        text = file.read_text(encoding="utf-8")
        kind, fields = re.fullmatch(r"@(\w+)\{\w+,\n(.*)\n\}\n", text, re.DOTALL).groups()  # type: ignore[union-attr]
        named = dict(re.fullmatch(r"  (\w+) += (\S.*)", line.rstrip(",")).groups() for line in fields.splitlines())  # type: ignore[union-attr]
        wanted = {"inbook": {"author", "title", "chapter", "publisher", "year"}}[kind]
        assert wanted <= named.keys()
        assert all(re.fullmatch(r"\{[^{}]+\}|[a-z]{3}", value) for value in named.values())


def test_a_source_with_an_entry_is_cited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.toml").write_text('[about]\nsource = "Paper 2020"\n')
    (tmp_path / "two.toml").write_text('[about]\nsource = "a report"\n')
    (tmp_path / "Paper 2020.bib").write_text("@article{paper}\n")
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    assert run_command(["recipes", "--bibtex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["% one", "@article{paper}", "", "% No publication is known for the source of", "% two (a report)"]
    assert run_command(["recipes", "--bibtex", "--json"]) == 2
    assert "--json and --bibtex are two formats" in capsys.readouterr().err
