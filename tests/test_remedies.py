"""What messages tell to run can be run: their commands parse, and the options that they name exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from source_files import ROOT, SOURCES

from msa.cli import app

VALUES = {  # of placeholders, by the end of their expression
    "modality": "image",
    "invoked_subcommand": "extract",
    "names": "--image vgg16",
    "other": "text",
}
NAMES = {"NAME": "R3-cma"}  # stands for any recipe
COMMAND = re.compile(r"`(msa [^`]+)`|(?:next|again|Next): (msa [^`\n]*)$")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?![\w-]*\.)")
OTHER = {"--help", "--force-reinstall", "--upgrade", "--no-deps", "--grid"}  # of pip; a colour of the page
OTHER |= {"--logdir", "--backend-store-uri", "--vector"}  # of tensorboard, mlflow, embedding-atlas


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a source file that are no docstrings, with values for what f-strings leave open."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(filled, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    name = ast.unparse(part.value).rpartition(".")[2]
    return VALUES.get(name, "x")


TEXTS = [(f"{path.relative_to(ROOT)}:{line}", text) for path in SOURCES for line, text in messages(path)]
COMMANDS = [
    pytest.param(found, id=f"{place} {found}")
    for place, text in TEXTS
    for found in sorted({one or other for one, other in COMMAND.findall(text)})
]


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(app)


def every_option(command: Any) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(every_option, getattr(command, "commands", {}).values()))


def parse(root: Any, words: list[str]) -> None:
    """Parse a command line, as far as it goes, without running it; raises what typer raises."""
    if "--from" in words:  # whose value is a run that must be there
        del words[words.index("--from") : words.index("--from") + 2]
    command, context = root, root.context_class(root, info_name="msa")
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if command is not root:
            context = command.context_class(command, parent=context, info_name=command.name)
        command, words = command.commands[words[0]], words[1:]
    if words not in ([], ["--help"]):  # a command that is merely named may want arguments
        command.make_context(command.name, words, parent=context)


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_a_message_can_be_run(root: Any, command: str) -> None:
    parse(root, [NAMES.get(word, word) for word in shlex.split(command)[1:]])


def test_a_command_that_does_not_parse_is_seen(root: Any) -> None:
    for wrong in ("extract --imagee x", "extract --batch-size x", "cache import --append", "nothing"):
        with pytest.raises(Exception, match=r"imagee|batch-size|Missing|nothing"):
            parse(root, wrong.split())


def test_every_option_in_a_message_exists(root: Any) -> None:
    known = every_option(root) | OTHER
    unknown = [(place, name) for place, text in TEXTS for name in OPTION.findall(text) if name not in known]
    assert unknown == []
