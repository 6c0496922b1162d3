"""Published figures have a script each, which `make benchmarks` runs; tables of results are what scripts printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from source_files import ROOT

BENCHMARKS = ROOT / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*.txt"))
PRINTED_ON_THE_PAGE = "scale"  # whose tables are in docs/scale.md as they are


def script(name: str, *arguments: str) -> str:
    """What a script prints; scripts import one another, so that their folder is on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, BENCHMARKS / name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """The commands of `make benchmarks` by the name of their script."""
    lines = script("run_all.py", "--list").splitlines()
    return {re.findall(r"benchmarks/(\w+)\.py", line)[0]: line for line in lines}


def source(name: str) -> str:
    return (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")


def test_every_script_of_a_claim_is_run(commands: dict[str, str]) -> None:
    claims = {path.stem for path in BENCHMARKS.glob("*.py") if source(path.stem).startswith('"""Claim: ')}
    assert commands.keys() == claims | {PRINTED_ON_THE_PAGE}


def test_a_script_is_given_the_folders_that_it_takes(commands: dict[str, str]) -> None:
    entries = source("run_all")
    for name in commands:
        entry = re.findall(rf'^    "{name}": Benchmark\((.*?)\),$', entries, re.MULTILINE | re.DOTALL)[0]
        for flag in ("data", "cache"):
            takes = f'add_argument("--{flag}"' in source(name) or "options(__doc__)" in source(name)
            assert (f"{flag}=True" in entry) == takes, f"{name} --{flag}"
        arguments = re.findall(r"(--[a-z]+)", commands[name])
        assert all(f'add_argument("{one}"' in source(name) for one in arguments), name


def test_every_claim_has_results_that_name_their_command_and_machine(commands: dict[str, str]) -> None:
    assert {path.stem for path in RESULTS} == commands.keys() - {PRINTED_ON_THE_PAGE}
    for path in RESULTS:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"$ python benchmarks/{path.stem}.py"), path.name
        assert re.search("AMD EPYC|Intel", text), path.name


def test_tables_of_results_are_those_that_the_scripts_printed() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in script("results_tables.py").splitlines() if line]
    assert len(rows) > 40
    assert [row for row in rows if row not in page] == []


def test_the_readmes_have_the_figures_of_the_presets() -> None:
    rows = script("results_tables.py").split("\n\n")[1].splitlines()
    for page in ("README.md", "README.zh.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, accuracy, _, f1, _, embed, train in (row.strip("| ").split(" | ") for row in rows):
            line = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
            assert line.endswith(f"| {accuracy} | {f1} | {embed} | {train} |"), f"{page}: {name}"


def test_one_script_runs_and_its_output_is_kept(tmp_path: Path) -> None:
    printed = script("run_all.py", "scale", "--out", str(tmp_path))
    kept = (tmp_path / "scale.txt").read_text(encoding="utf-8")
    assert kept.startswith("$ python benchmarks/scale.py\n")
    assert re.search(r"exit code 0, \d+ s, .* cores, Python ", kept)
    assert printed.startswith(kept[: kept.index("exit code")])
    assert "below their target or failed: none" in printed
