"""The package: which folders it holds, what importing it loads, and that the repository holds text alone."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib

import pytest
from source_files import PARTS, ROOT, imports, relative, uses

HEAVY = {"torch", "torchvision", "transformers", "timm", "gensim", "sklearn", "h5py", "matplotlib", "jinja2"}
TEXT = {"", ".cfg", ".ini", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".html", ".css", ".js", ".svg"}
TEXT |= {".typed", ".bib", ".cff", ".sh", ".in", ".ipynb"}


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
    assert {path.parent.name for path in loose} == set(PARTS)
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
