"""The shape of the project: which way imports run, what is packaged, how large files are, how fast the help is."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("features", "heads", "pipeline")
HEAVY = {"torch", "torchvision", "transformers", "timm", "gensim", "sklearn", "h5py"}
SOURCES = sorted([*ROOT.glob("*.py"), *(path for part in PARTS for path in (ROOT / part).rglob("*.py"))])
PYTHON = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
TEXT = {"", ".cfg", ".ini", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".html", ".css", ".js", ".svg"}
TEXT |= {".typed"}


def package(path: Path) -> str:
    """The part of msa that a source file belongs to: 'features', …, or 'cli' for the root."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Absolute names of what a file imports: `..heads.base` in `pipeline/x.py` is `msa.heads.base`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = ["msa", *path.relative_to(ROOT).parts[:-1]]
    for node in _at_import(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not in functions, not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


def uses(path: Path, module: str, *, top_level: bool = False) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for name in imports(path, top_level=top_level))


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize(
    ("part", "forbidden"),
    [
        ("features", ["msa.heads", "msa.pipeline", "msa.cli"]),
        ("heads", ["msa.features", "msa.pipeline", "msa.cli"]),
        ("pipeline", ["msa.cli"]),
    ],
)
def test_imports_run_one_way(part: str, forbidden: list[str]) -> None:
    files = [path for path in SOURCES if package(path) == part]
    assert files
    assert relative([path for path in files for module in forbidden if uses(path, module)]) == []


def test_the_guard_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "heads").mkdir()
    path = tmp_path / "heads" / "x.py"
    for line in ("from ..features import store", "from .. import features", "import msa.features.store.store as s"):
        path.write_text(f"def f():\n    {line}\n", encoding="utf-8")
        assert uses(path, "msa.features")
        assert not uses(path, "msa.features", top_level=True)
        assert not uses(path, "msa.feature")
    path.write_text("try:\n    from msa.features import store\nfinally:\n    pass\n", encoding="utf-8")
    assert uses(path, "msa.features", top_level=True)


def test_one_file_alone_knows_hdf5() -> None:
    users = [path for path in SOURCES if uses(path, "h5py")]
    assert [package(path) for path in users] == ["features"], relative(users)


def test_the_package_imports_itself_relatively() -> None:
    absolute = [path for path in SOURCES if any(line.startswith(("import msa", "from msa")) for line in _lines(path))]
    assert relative(absolute) == []


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]


def test_cli_imports_nothing_heavy_before_a_command_runs() -> None:
    assert [name for name in HEAVY if uses(ROOT / "cli.py", name, top_level=True)] == []


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys\nfrom msa.cli import main\nsys.argv = ['msa', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "train-head" in run.stdout
    assert run.stdout.splitlines()[-1] == "LOADED []"


def test_the_package_list_is_the_folders() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = [path.parent.relative_to(ROOT) for part in PARTS for path in (ROOT / part).rglob("__init__.py")]
    named = ["msa", *(".".join(["msa", *folder.parts]) for folder in folders)]
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(named)
    loose = [path for path in ROOT.glob("*/*.py") if (path.parent / "__init__.py").exists()]
    assert {package(path) for path in loose} == set(PARTS)
    assert relative(sorted(ROOT.glob("*.py"))) == ["__init__.py", "cli.py"]


def test_the_root_init_names_what_it_offers_and_imports_none_of_it() -> None:
    path = ROOT / "__init__.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assert functions == ["__getattr__", "__dir__"]
    assigned = [node for node in body if isinstance(node, ast.Assign)]
    for node in assigned:
        ast.literal_eval(node.value)
    guarded = [node for node in body if isinstance(node, ast.If)]
    assert [ast.unparse(node.test) for node in guarded] == ["TYPE_CHECKING"]
    assert len(body) == 1 + len(functions) + len(assigned) + len(guarded)
    assert list(imports(path, top_level=True)) == []


def test_importing_the_package_loads_nothing_and_each_name_leads_somewhere() -> None:
    script = (
        "import sys\nbefore = set(sys.modules)\nimport msa\n"
        "print('LOADED', sorted({name.split('.')[0] for name in set(sys.modules) - before} - {'msa'}))\n"
        "assert not hasattr(msa, 'FusionClassifer')\n"
        "offered = [name for name in dir(msa) if not name.startswith('_') and name != 'TYPE_CHECKING']\n"
        f"print('AFTER', sorted({HEAVY!r} & set(sys.modules)))\n"
        "print('OFFERED', *offered)\n"
        "print('NAMES', *(getattr(msa, name).__name__ for name in offered))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    loaded, after, offered, names = run.stdout.splitlines()
    assert (loaded, after) == ("LOADED []", "AFTER []")
    assert offered.split()[1:] == names.split()[1:]
    assert {"FeatureTable", "FusionClassifier", "extract", "load_features"} <= set(names.split())


def test_tests_have_no_root_conftest_and_no_packages() -> None:
    assert not (ROOT / "conftest.py").exists()
    assert not (ROOT / "tests" / "conftest.py").exists()
    assert relative(list((ROOT / "tests").rglob("__init__.py"))) == []
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_files_open_with_what_they_own_and_stay_small() -> None:
    assert relative([path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]) == []
    assert relative([path for path in PYTHON if len(_lines(path)) > 300]) == []


def test_git_tracks_text_alone() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [git, "-C", str(ROOT), "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    tracked = [ROOT / name for name in run.stdout.split("\0") if name]
    assert tracked
    present = [path for path in tracked if path.is_file()]
    assert relative([path for path in present if path.suffix not in TEXT]) == []
    assert relative([path for path in present if path.stat().st_size > 256 * 1024]) == []
    assert relative([path for path in present if b"\0" in path.read_bytes()]) == []
