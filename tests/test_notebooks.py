"""The notebooks of docs/: no outputs, the same code in both languages, an install cell that keeps torch; they run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from source_files import ROOT

NAMES = ("notebook.ipynb", "notebook.zh.ipynb")
Cell = dict[str, Any]


def read(name: str) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))
    return notebook


def code_cells(name: str) -> list[Cell]:
    return [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]


def tags(cell: Cell) -> list[str]:
    found: list[str] = cell["metadata"].get("tags", [])
    return found


def install_cell() -> str:
    (cell,) = [cell for cell in code_cells(NAMES[0]) if "skip-execution" in tags(cell)]
    assert "install" in tags(cell)
    return "".join(cell["source"])


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid_and_holds_no_outputs_and_no_local_path(name: str) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["id"] for cell in code_cells(name) if cell["outputs"] or cell["execution_count"]] == []
    assert re.findall(r"/(?:home|root|tmp|work|Users)/|[A-Z]:\\\\", json.dumps(notebook)) == []


def test_both_languages_have_the_same_cells_and_code() -> None:
    english, chinese = (read(name)["cells"] for name in NAMES)
    assert [cell["id"] for cell in english] == [cell["id"] for cell in chinese]
    assert code_cells(NAMES[0]) == code_cells(NAMES[1])


def test_the_install_cell_asks_for_the_versions_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(line.split(">=") for line in project["dependencies"] if line.startswith("torch"))
    assert all(f'"{name}": "{bound}"' in install_cell() for name, bound in bounds.items())
    assert f'"{project["name"]}[offline] @ ' in install_cell().replace('f"', '"')


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("git+https://example.org/a/msa.git", "msa-pipeline[offline] @ git+https://example.org/a/msa.git"),
        ("msa_pipeline-0.1.0-py3-none-any.whl", "{here}/msa_pipeline-0.1.0-py3-none-any.whl[offline]"),
        ("msa", "{here}/msa[offline]"),  # without its path pip would look for a package of that name
    ],
)
def test_the_install_cell_keeps_an_installed_torch(
    source: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []

    def pip(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lines.append(line)
        return subprocess.CompletedProcess(line, 0, "", "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(metadata, "version", {"torch": "2.11.0+cu128", "torchvision": "0.26.0"}.__getitem__)
    exec(install_cell().replace('SOURCE = ""', f"SOURCE = {source!r}"), {})
    wanted = wanted.format(here=tmp_path.resolve())
    assert lines == [[sys.executable, "-m", "pip", "install", "--constraint", "constraints.txt", wanted, "pandas"]]
    assert Path("constraints.txt").read_text() == "torch==2.11.0+cu128\ntorchvision==0.26.0\n"


def test_the_install_cell_refuses_an_old_torch_and_a_missing_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"torch": "2.9.1+cu126", "torchvision": "0.26.0"}.__getitem__)
    with pytest.raises(ValueError, match=r"torch 2\.11 or newer, this is 2\.9\.1\+cu126; set KEEP_TORCH = False"):
        exec(install_cell(), {})
    with pytest.raises(ValueError, match="set SOURCE: the git address"):
        exec(install_cell().replace("KEEP_TORCH = True", "KEEP_TORCH = False"), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.reads(json.dumps(read(name)), as_version=4)
    for cell in notebook.cells:
        if "parameters" in tags(cell):
            cell.source = f"{cell.source}\nPOSTS, FOLDS = 96, 2"
        if cell.source.startswith("!"):  # a command that fails does not fail its cell
            cell.source += "\nassert _exit_code == 0"
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, skip_cells_with_tag="skip-execution", resources=resources).execute()
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert shown.count("image/png") == 3
    (answers,) = tmp_path.glob("runs/gated/predictions/posts/test_with_label.txt")
    assert len(answers.read_text().splitlines()) == 1 + 96 // 8
    assert (tmp_path / "results.zip").stat().st_size > 10_000
