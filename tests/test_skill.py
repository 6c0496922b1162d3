"""SKILL.md is true: its commands run in their order and print one JSON object with the keys that it names."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from source_files import ROOT

from msa.cli import run_command
from msa.pipeline.demo.demo import write_demo_corpus

PAGE = (ROOT / "SKILL.md").read_text(encoding="utf-8")


def described() -> list[tuple[str, set[str]]]:
    """Each command of the table, and the keys of what it prints."""
    rows = re.findall(r"^\| `(msa [^`]*)` \| (.*) \|$", PAGE, re.MULTILINE)
    return [(line, set(re.findall(r"`(\w+)`", keys))) for line, keys in rows]


def test_the_page_begins_with_its_name_and_when_to_use_it() -> None:
    start, matter, _ = PAGE.split("---\n", 2)
    assert start == ""
    assert yaml.safe_load(matter).keys() == {"name", "description"}


@pytest.mark.slow
def test_each_command_prints_one_json_object_with_these_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_corpus(tmp_path / "posts", posts=64)
    (tmp_path / "posts" / "msa.toml").unlink()
    assert len(described()) == 5
    found = {}
    with chdir(tmp_path):
        for line, keys in described():
            code = run_command(shlex.split(line)[1:])
            printed = capsys.readouterr()
            assert code == (1 if " extract " in line else 0), printed.err  # one image of 64 is broken on purpose
            found[line] = json.loads(printed.out)
            assert keys <= found[line].keys()
    checked, extracted, trained, _, predicted = found.values()
    assert checked["problems"][0].keys() == {"file", "line", "reason"}
    for one in extracted["encoders"]:
        assert one["rows"] == sum(one[part] for part in ("encoded", "cached", "duplicate", "missing", "bad"))
    assert trained["metrics"]["macro_f1"].keys() == trained["baselines"]["linear"]["accuracy"].keys() == {"mean", "std"}
    assert predicted["predictions"][0].keys() == {"id", "label", "probabilities"}


def test_a_mistake_leaves_stdout_empty_and_gives_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(tmp_path):
        assert run_command(["check", "posts", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
