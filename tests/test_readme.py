"""The pages are true: their commands run, links, files and functions exist, both languages agree."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from msa.cli import app, run_command
from msa.pipeline.demo.demo import write_demo_corpus

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh.md")
COMMANDS = ("docs/commands.md", "docs/commands.zh.md")
ENCODER_PAGES = ("docs/encoders.md", "docs/encoders.zh.md")
SCALE = ("docs/scale.md", "docs/scale.zh.md")
DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = (*READMES, "CONTRIBUTING.md", "CHANGELOG.md", "SKILL.md", *DOCS)
TOP = {"cli.py", "features/", "heads/", "pipeline/", "recipes/", "tests/", "benchmarks/", "docs/"}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[list[str]]:
    """The command lines of each bash block, without comments."""
    found = re.findall(r"```bash\n(.*?)```", read(page), re.DOTALL)
    return [[re.split(r"\s+# ", line)[0].strip() for line in block.splitlines() if line.strip()] for block in found]


def inline_commands(page: str) -> list[str]:
    return [" ".join(found.split()) for found in re.findall(r"`(msa [a-z][^`]*)`", read(page))]


def structure(page: str) -> list[str]:
    """What two languages have in common: the levels of headings and the rows of tables, in order."""
    return re.findall(r"^(#+ |\|)", read(page), re.MULTILINE)


def test_both_languages_give_the_same_commands() -> None:
    chinese = [block for block in blocks("README.zh.md") if "_zh" in block[0]]  # see test_chinese_posts.py
    assert len(chinese) == 1
    assert blocks("README.md") == [block for block in blocks("README.zh.md") if block not in chinese]
    assert inline_commands(COMMANDS[0]) == inline_commands(COMMANDS[1])
    assert inline_commands(SCALE[0]) == inline_commands(SCALE[1])


@pytest.mark.parametrize(("english", "chinese"), [READMES, COMMANDS, ENCODER_PAGES, SCALE])
def test_both_languages_have_the_same_headings_and_rows(english: str, chinese: str) -> None:
    assert structure(english) == structure(chinese)


def test_the_first_screen_has_two_commands_that_the_makefile_knows() -> None:
    first = blocks("README.md")[0]
    assert first == ["make demo", "make test"]
    makefile = read("Makefile")
    assert all(re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE) for line in first)


@pytest.mark.parametrize(("page", "most"), [*((name, 150) for name in READMES), ("CONTRIBUTING.md", 80)])
def test_pages_stay_short(page: str, most: int) -> None:
    assert len(read(page).splitlines()) <= most


def trees(page: str) -> set[str]:
    """What a page's file tree names."""
    tree = re.findall(r"```\n(cli\.py.*?)```", read(page), re.DOTALL)[0]
    return {line.split()[0] for line in tree.splitlines()}


def test_the_contributors_tree_names_every_room() -> None:
    rooms = {f"{p.parent.name}/" for part in ("features", "pipeline") for p in (ROOT / part).glob("*/__init__.py")}
    assert trees("CONTRIBUTING.md") == TOP | rooms


@pytest.mark.parametrize("name", READMES)
def test_the_users_tree_names_every_folder(name: str) -> None:
    assert trees(name) == TOP


def test_the_contributors_page_names_files_and_functions_that_exist() -> None:
    """`room/file.py`, `room/file.py:name`, or a file's name alone where it is the only one; NAME is the reader's."""
    found = re.findall(r"`((?:\w+/)*(?!NAME)\w+\.py)(?::(\w+))?`", read("CONTRIBUTING.md"))
    assert len(found) >= 20
    for file, name in found:
        exact = [path for part in ("", "features", "pipeline") if (path := ROOT / part / file).is_file()]
        folders = ("features", "pipeline", "tests") if "/" not in file else ()
        paths = exact or [path for folder in folders for path in (ROOT / folder).rglob(file)]
        assert len(paths) == 1, file
        assert name in {"", *defined(paths[0])}, f"{file}:{name}"


def defined(path: Path) -> set[str]:
    """Names that a file defines at its top: functions, classes, constants."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        names |= {str(getattr(target, "name", getattr(target, "id", ""))) for target in targets}
    return names


def example(page: str) -> str:
    """The Python of a page, without comments."""
    return re.sub(r"\s+# .*", "", re.findall(r"```python\n(.*?)```", read(page), re.DOTALL)[0])


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example(READMES[0]) == example(READMES[1])
    write_demo_corpus(tmp_path / "posts", posts=64)
    monkeypatch.chdir(tmp_path)
    run_command(["extract", "posts"])
    names: dict[str, object] = {}
    exec(example(READMES[0]), names)
    probabilities = names["model"].predict_proba(names["X"][:5])  # type: ignore[attr-defined, index]
    assert probabilities.shape == (5, 3)


@pytest.mark.filterwarnings("ignore::msa.features.messages.Notice")  # what a preset stands for
@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_are_ones_that_msa_understands(page: str) -> None:
    """Words in capitals stand for a user's own; everything else is parsed as typed, without being run."""
    found = [line for line in inline_commands(page) if "--from" not in line]  # it needs a sweep
    assert len(found) >= (45 if page in COMMANDS else 0)
    for line in found:
        parse(line)


def parse(line: str) -> None:
    """Fail unless msa understands this command, of which nothing is run."""
    command: Any = typer.main.get_command(app)
    root, words = command.make_context("msa", [], resilient_parsing=True), shlex.split(line)[1:]
    while hasattr(command, "commands") and words:
        command, words = command.commands[words[0]], words[1:]
    if words:  # else it only names the command
        context = command.make_context(command.name, words, parent=root)
        assert context.command is command


def test_the_examples_for_clusters_are_well_formed() -> None:
    slurm, sky = (ROOT / "docs" / "examples" / name for name in ("slurm.sh", "skypilot.yaml"))
    subprocess.run(["bash", "-n", slurm], check=True)
    task = yaml.safe_load(sky.read_text())
    assert {"name", "num_nodes", "resources", "file_mounts", "setup", "run"} <= task.keys()
    subprocess.run(["bash", "-n"], input=task["setup"] + task["run"], text=True, check=True)
    own = re.findall(r"^\s*(?:--wrap=')?(msa [^'\n]*)", slurm.read_text() + task["run"], re.MULTILINE)
    assert len(own) == 5
    for line in own:
        filled = re.sub(r"\$\(\(.*?\)\)|\$\w+", "2", line)
        parse(f"{filled}8" if filled.endswith("/") else filled)


@pytest.mark.parametrize("page", SCALE)
def test_the_arithmetic_is_what_the_script_prints(page: str) -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "scale.py"], capture_output=True, text=True, check=True
    )
    rows = [line for line in printed.stdout.splitlines() if line.startswith("|")]
    assert len(rows) > 15
    assert [line for line in rows if line not in read(page).splitlines()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", read(page))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()] == []
    assert [script for script in re.findall(r"benchmarks/\w+\.py", read(page)) if not (ROOT / script).exists()] == []


def test_the_commands_for_ones_own_posts_run_word_for_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo_corpus(tmp_path / "posts", posts=64)
    image = next((tmp_path / "posts" / "data").glob("*.png"))
    (tmp_path / "photo.jpg").write_bytes(image.read_bytes())
    with chdir(tmp_path):
        for line in blocks("README.md")[1]:
            program, *arguments = shlex.split(line)
            assert program == "msa"
            code = run_command(arguments)
            printed = capsys.readouterr()
            # One planted image of 64 is unreadable: more than one in a hundred, for which `extract` exits with 1.
            assert code == (1 if arguments == ["extract"] else 0), f"{line}: {printed.err}"
    assert (tmp_path / "runs" / "attention" / "predictions" / "posts" / "test_with_label.txt").exists()
