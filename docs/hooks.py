"""What mkdocs adds to the pages of this folder: README as the first page, files they link to, all commands' options.

Files outside this folder have their place in OUTSIDE; `reference.md` is written from the commands themselves while the
site is built, and is never stored.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from msa.cli import app

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {"README.md": "index.md", "README.zh.md": "index.zh.md"} | {
    name: name
    for name in (
        *("CHANGELOG.md", "CONTRIBUTING.md", "SKILL.md", "LICENSE", "Dockerfile", "conda.recipe/meta.yaml"),
        "benchmarks/results/cluster.txt",
    )
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of OUTSIDE and the reference of commands."""
    for name, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "reference.md", content="\n".join(reference())))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links between the folders of the repository lead to their places on the site."""
    markdown = re.sub(r"\]\((?:docs/|\.\./)", "](", markdown)
    return re.sub(r"\]\(README((?:\.zh)?\.md)", r"](index\1", markdown)


def reference() -> Iterator[str]:
    """The lines of a page with each command's help and a table of its arguments and options."""
    yield "# Commands and options\n\nWritten from the program itself. In prose: [commands](commands.md)."
    yield from _describe(typer.main.get_command(app), "msa", 2)


def _describe(command: Any, name: str, level: int) -> Iterator[str]:
    inner = getattr(command, "commands", {})
    if name != "msa":
        yield f"\n{'#' * level} {name}\n\n{_escaped(inspect.cleandoc(command.help or ''))}\n"
    if not inner:
        context = command.make_context(name, [], resilient_parsing=True)
        records = [record for each in command.params if (record := each.get_help_record(context))]
        yield "| option | |\n|---|---|"
        yield from (f"| `{_cell(option)}` | {_escaped(_cell(text))} |" for option, text in records)
    for word, each in inner.items():
        if not each.hidden:
            yield from _describe(each, f"{name} {word}", level + (name != "msa"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("[", "\\[")
