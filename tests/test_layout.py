"""The shape of the project: its rooms, the one direction of imports, no circles, small files, the field's words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_files import ROOT, SOURCES, imports, relative, uses

PYTHON = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
PAGES = sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])

# Rooms from the top to the bottom; those of one line may not import one another. "" is a part's own files.
DIRECTION = (
    ("cli",),
    ("pipeline/commands",),
    ("pipeline/serving", "pipeline/scoring"),
    ("pipeline",),
    ("pipeline/demo",),
    ("pipeline/figures",),
    ("pipeline/explanation",),
    ("pipeline/inspection",),
    ("pipeline/sweeps", "pipeline/ablation", "pipeline/finetuning", "pipeline/estimators", "pipeline/exporting"),
    ("pipeline/evaluation",),
    ("pipeline/tracking",),
    ("pipeline/runs",),
    ("pipeline/fused",),
    ("pipeline/training",),
    ("pipeline/data",),
    ("pipeline/config",),
    ("pipeline/metrics",),
    ("heads",),
    ("heads/estimators",),
    ("features/cache",),
    ("features/extraction",),
    ("features/encoders",),
    ("features/model_files",),
    ("features/store",),
    ("features/posts/export",),
    ("features/posts",),
    ("features/words",),
    ("features/posts/containers", "features/posts/remote"),
    ("features",),
)
LEVELS = {room: level for level, rooms in enumerate(reversed(DIRECTION)) for room in rooms}
LARGEST_FILE = 300  # lines
LARGEST_ROOM = 25  # modules

# Words of a private language, each with what PyTorch, scikit-learn and the papers say.
BANNED = {
    r"[Ss]top[ _-]rows?": "validation rows",
    r"[Ss]cored[ _-]rows?": "test rows",
    r"(?<![._])\b[Ff]loor\b(?!\()": "baseline",
    r"(?<!I )\b[Gg]uess(es|ed)?\b": "prediction, or pseudo-label",
    r"\b[Cc]hances\b": "probabilities",
    r"\bCourse\b(?! layout)": "TrainingState",
    r"\bTrainees?\b": "FusedHead",
    r"\bKeepers?\b": "Checkpointer",
    r"\bWorkplace\b": "CheckpointDir",
    r"\b(Scenes?|LatestScene)\b": "FoldInputs",
    r"\b[Cc]ompany\b": "fusion_key",
    r"\bshare_out\b": "make_chunks",
    r"\b[Dd]eal(s|t|ing)?\b": "split",
    r"\banew\b": "again, or repeated with another seed",
    r"\b([Cc]rew|[Hh]ired|[Bb]uried)\b": "WorkerPool, started, removed",
    r"\b(Race|Racer|Leg|Station)\b": "Halving, Worker, Task, Rung",
    r"\b[Bb]rought\b": "imported",
    r"\b[Ll]anes?\b": "streams",
    r"\b[Ww]orth\b": "contribution, or a plain verb",
    r"\b[Aa]ssess\w*": "evaluate",
    r"\bmembers_of\b": "ensemble_folds",
    r"\b([Ss]peaks?|[Ss]aid|[Hh]eard|[Hh]ears)\b": "predict, logits, outputs",
    r"(?<!--)[Oo]ptimiser": "optimizer",
    r"[Hh]ow (the )?posts (may )?lie|[Tt]old by what": "data layouts, detected automatically",
    r"beat(s|en)? by|has to beat": "baselines",
}


def room(path: Path) -> str:
    """The room of a source file: 'features/posts', 'heads', …; 'cli' for the root."""
    parts = path.relative_to(ROOT).parts
    return "cli" if len(parts) == 1 else "/".join(parts[:-1])


def imported_files(path: Path) -> set[Path]:
    """The source files that a file imports, by module or by name."""
    found = set()
    for name in imports(path):
        parts = name.split(".")[1:] if name.startswith("msa.") else []
        files = [(ROOT / Path(*parts[:length])).with_suffix(".py") for length in (len(parts), len(parts) - 1) if length]
        found |= set(next(([file] for file in files if file.is_file()), []))
    return found


def test_every_file_is_in_a_room_of_the_plan() -> None:
    assert {room(path) for path in SOURCES} == set(LEVELS)


def test_imports_run_one_way() -> None:
    backwards = [
        f"{path.relative_to(ROOT)} → {other.relative_to(ROOT)}"
        for path in SOURCES
        for other in imported_files(path)
        if room(other) != room(path) and LEVELS[room(other)] >= LEVELS[room(path)]
    ]
    assert backwards == []


def test_heads_and_features_do_not_know_each_other() -> None:
    assert relative([path for path in SOURCES if room(path) == "heads" and uses(path, "msa.features")]) == []
    assert relative([path for path in SOURCES if room(path).startswith("features") and uses(path, "msa.heads")]) == []


def test_no_files_import_one_another_in_a_circle() -> None:
    try:
        TopologicalSorter({path: imported_files(path) for path in SOURCES}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of files: {' → '.join(relative(error.args[1]))}")


def test_no_room_and_no_file_is_too_large() -> None:
    for folder in {path.parent for path in SOURCES}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= LARGEST_ROOM, folder
    assert relative([path for path in PYTHON if len(_lines(path)) > LARGEST_FILE]) == []


def test_files_and_rooms_open_with_what_they_own() -> None:
    assert relative([path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]) == []


def test_tests_mirror_the_rooms() -> None:
    rooms = {room(path) for path in SOURCES} - {"cli"}
    mirrored = {str(path.parent.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")}
    assert rooms - mirrored <= {"features", "pipeline", "pipeline/config"}
    assert mirrored - rooms == {".", "features/fuzz"}


def test_tests_have_no_root_conftest_and_no_packages() -> None:
    assert not (ROOT / "conftest.py").exists()
    assert not (ROOT / "tests" / "conftest.py").exists()
    assert relative(list((ROOT / "tests").rglob("__init__.py"))) == []
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_the_guard_sees_every_kind_of_import(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    path = tmp_path / "heads" / "x.py"
    for line in ("from ..features import store", "from .. import features", "import msa.features.store.store as s"):
        path.write_text(f"def f():\n    {line}\n", encoding="utf-8")
        assert uses(path, "msa.features", root=tmp_path)
        assert not uses(path, "msa.features", root=tmp_path, top_level=True)
        assert not uses(path, "msa.feature", root=tmp_path)
    path.write_text("try:\n    from msa.features import store\nfinally:\n    pass\n", encoding="utf-8")
    assert uses(path, "msa.features", root=tmp_path, top_level=True)


def test_one_file_alone_knows_hdf5_and_the_commands_alone_know_typer() -> None:
    assert [room(path) for path in SOURCES if uses(path, "h5py")] == ["features/store"]
    assert {room(path) for path in SOURCES if uses(path, "typer")} == {"cli", "pipeline/commands"}


def test_the_package_imports_itself_relatively() -> None:
    absolute = [path for path in SOURCES if any(line.startswith(("import msa", "from msa")) for line in _lines(path))]
    assert relative(absolute) == []


def banned(text: str) -> Iterator[str]:
    """Every banned word in a text, with its line and what to say instead."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in BANNED.items():
            if match := re.search(pattern, line):
                yield f"{number}: {match.group()!r} (say: {instead}): {line.strip()[:80]}"


@pytest.mark.parametrize("path", [*PYTHON, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_field(path: Path) -> None:
    if path != Path(__file__).resolve():
        assert list(banned(path.read_text(encoding="utf-8"))) == []


def test_the_help_of_every_command_uses_the_words_of_the_field() -> None:
    script = (
        "import typer\nfrom msa.cli import app\n"
        "def show(command, context):\n"
        "    print(command.get_help(context))\n"
        "    for name, inner in getattr(command, 'commands', {}).items():\n"
        "        show(inner, type(context)(inner, parent=context, info_name=name))\n"
        "root = typer.main.get_command(app)\n"
        "show(root, root.make_context('msa', [], resilient_parsing=True))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "train-head" in run.stdout
    assert list(banned(run.stdout)) == []


def test_the_words_are_found() -> None:
    assert len(list(banned("the stop rows\nwhat a head said\nmath.floor(x) // 2\na validation row\n"))) == 2


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
