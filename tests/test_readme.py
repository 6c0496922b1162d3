"""The READMEs say what is so: their commands run, their file tree is the tree, both languages agree."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from msa.cli import app, run_command
from msa.pipeline.demo.demo import write_demo_corpus

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh.md")
TOP = {"cli.py", "features/", "heads/", "pipeline/", "recipes/", "tests/", "benchmarks/"}


def blocks(name: str) -> list[list[str]]:
    """The command lines of each bash block, without comments."""
    found = re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    return [[re.split(r"\s+# ", line)[0].strip() for line in block.splitlines() if line.strip()] for block in found]


def test_both_languages_give_the_same_commands() -> None:
    assert blocks("README.md") == blocks("README.zh.md")


def test_the_first_screen_has_two_commands_that_the_makefile_knows() -> None:
    first = blocks("README.md")[0]
    assert first == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE) for line in first)


def trees(name: str) -> set[str]:
    """What a page's file tree names."""
    text = (ROOT / name).read_text(encoding="utf-8")
    tree = re.findall(r"```\n(cli\.py.*?)```", text, re.DOTALL)[0]
    return {line.split()[0] for line in tree.splitlines()}


def test_the_contributors_tree_names_every_room() -> None:
    rooms = {f"{p.parent.name}/" for part in ("features", "pipeline") for p in (ROOT / part).glob("*/__init__.py")}
    assert trees("CONTRIBUTING.md") == TOP | rooms


@pytest.mark.parametrize("name", READMES)
def test_the_users_tree_names_every_folder(name: str) -> None:
    assert trees(name) == TOP


def example(name: str) -> str:
    """The Python of a page, without comments."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\s+# .*", "", re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example(READMES[0]) == example(READMES[1])
    write_demo_corpus(tmp_path / "posts", posts=64)
    monkeypatch.chdir(tmp_path)
    run_command(["extract", "posts"])
    names: dict[str, object] = {}
    exec(example(READMES[0]), names)
    probabilities = names["model"].predict_proba(names["X"][:5])  # type: ignore[attr-defined, index]
    assert probabilities.shape == (5, 3)


@pytest.mark.parametrize("name", READMES)
def test_commands_in_the_tables_are_ones_that_msa_understands(name: str) -> None:
    """Words in capitals stand for a user's own; everything else is parsed as typed, without being run."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [line for line in re.findall(r"`(msa [a-z][^`]*)`", text) if "--from" not in line]  # it wants a sweep
    lines = [shlex.split(line)[1:] for line in found]
    assert len(lines) >= 25
    group: Any = typer.main.get_command(app)
    root = group.make_context("msa", [], resilient_parsing=True)
    for words in lines:
        command = group
        while hasattr(command, "commands") and words:
            command, words = command.commands[words[0]], words[1:]
        if not hasattr(command, "commands"):
            arguments = ["RUN"] if command.name in ("predict", "evaluate", "test") and not words else []
            context = command.make_context(command.name, [*words, *arguments], parent=root)
            assert context.command is command


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_commands_for_ones_own_posts_run_word_for_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo_corpus(tmp_path / "posts", posts=64)
    image = next((tmp_path / "posts" / "data").glob("*.png"))
    (tmp_path / "photo.jpg").write_bytes(image.read_bytes())
    old = Path.cwd()
    os.chdir(tmp_path)
    try:
        for line in blocks("README.md")[1]:
            program, *arguments = shlex.split(line)
            assert program == "msa"
            code = run_command(arguments)
            said = capsys.readouterr()
            # One planted image of 64 is unreadable: more than one in a hundred, as `extract` then says.
            assert code == (1 if arguments == ["extract"] else 0), f"{line}: {said.err}"
    finally:
        os.chdir(old)
    assert (tmp_path / "runs" / "attention" / "predictions" / "test_with_label.txt").exists()
