"""The tutorial is true: its commands, run in order on the course folder that it shows, print and write what it says."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from source_files import ROOT

from msa.cli import run_command
from msa.pipeline.demo.demo import write_demo_corpus

PAGES = ("tutorial.md", "tutorial.zh.md")
CUT = "…"


def read(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def steps(page: str) -> list[tuple[str, list[str]]]:
    """Each command with the lines of output shown below it."""
    found = re.findall(r"```bash\n(msa [^\n]*)\n```\n\n```text\n(.*?)\n```", read(page), re.DOTALL)
    return [(command, [line for line in shown.splitlines() if line != CUT]) for command, shown in found]


def masked(line: str) -> str:
    """The line without its numbers, which differ between machines, and without the width of its columns."""
    return re.sub(r"-{2,}", "--", " ".join(re.sub(r"\d[\d.]*", "0", line).split()))


def files(page: str) -> list[str]:
    """The files of the table at the end."""
    rows = re.findall(r"^\|.*", read(page), re.MULTILINE)
    return re.findall(r"`(.+?)`", "".join(rows))


def test_both_pages_give_the_same_commands_and_output() -> None:
    blocks, inline, structure = (
        [re.findall(pattern, read(page), re.DOTALL | re.MULTILINE) for page in PAGES]
        for pattern in (r"```(?:bat|sh|bash|text)\n.*?```", r"`((?:msa|python|set|export) [^`]+)`", r"^(?:#+ |\|)")
    )
    assert blocks[0] == blocks[1]
    assert inline[0] == inline[1]
    assert structure[0] == structure[1]
    assert files(PAGES[0]) == files(PAGES[1])
    assert len(steps(PAGES[0])) == read(PAGES[0]).count("```bash") == 8


def test_the_first_commands_are_for_windows() -> None:
    for page in PAGES:
        first = re.findall(r"```(\w+)\n(.*?)```", read(page), re.DOTALL)[0]
        assert first[0] == "bat"
        assert first[1].startswith("py -m venv .venv\n.venv\\Scripts\\activate.bat\n")
        assert "make" not in first[1]
        assert "'" not in first[1]


@pytest.mark.slow
def test_its_commands_lead_from_the_course_folder_to_labels_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_corpus(tmp_path / "course")
    monkeypatch.chdir(tmp_path)
    for command, shown in steps(PAGES[0]):
        code = run_command(shlex.split(command)[1:])
        printed = capsys.readouterr()
        assert code == 0, f"{command}: {printed.err}"
        same = str if command == "msa check" else masked  # its numbers are those of the drawn posts
        lines = iter([same(line).rstrip() for line in printed.out.splitlines()])
        for line in shown:
            assert same(line) in lines, f"{command} does not print, or not in this order: {line}"
    with (tmp_path / files(PAGES[0])[0]).open(encoding="utf-8", newline="") as labelled:
        predicted = list(csv.DictReader(labelled))
    wanted = (tmp_path / "course" / "test_without_label.txt").read_text(encoding="utf-8").split()[1:]
    assert [row["guid"] for row in predicted] == [line.partition(",")[0] for line in wanted]
    assert {row["tag"] for row in predicted} <= {"negative", "neutral", "positive"}
    for file in (*files(PAGES[0]), "runs/attention/report.html", "runs/attention/predictions/course/predictions.csv"):
        assert (tmp_path / file).stat().st_size > 20, file
    drawn = re.findall(r"\]\((figures/[^)]+)\)", (tmp_path / "report.md").read_text(encoding="utf-8"))
    assert drawn
    assert [link for link in drawn if not (tmp_path / link).is_file()] == []
