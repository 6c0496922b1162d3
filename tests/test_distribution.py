"""What is built and shipped: wheel, sdist, the context of the image and the conda recipe hold the package alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from source_files import PARTS, ROOT, SOURCES

from msa.features.installation import EXTRAS, explain_import_error, import_name, install_line

SKIPPED = shutil.ignore_patterns("__pycache__")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = SETTINGS["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # the latter without Qt


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def copy_tree(folder: Path) -> Path:
    """A checkout: all folders and files of the root that are no tool's own."""
    folder.mkdir()
    for name in (*PARTS, "recipes", "tests", "docs", "benchmarks", "conda.recipe"):
        shutil.copytree(ROOT / name, folder / name, ignore=SKIPPED)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


def copy_context(folder: Path) -> Path:
    """What `docker build` sends: the names behind `!` in .dockerignore, all else being left out."""
    folder.mkdir()
    rules = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    for name in (rule.removeprefix("!") for rule in rules if rule.startswith("!")):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=SKIPPED)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def build(source: Path, out: Path, *options: str) -> Path:
    """The wheel that is built of a folder, after its sdist unless options say otherwise."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options, str(source)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sdist of a checkout; the sdist lies beside it."""
    folder = tmp_path_factory.mktemp("built")
    return build(copy_tree(folder / "tree"), folder / "out")


def contents(wheel: Path) -> dict[str, bytes]:
    """Files of a wheel by name."""
    with ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.slow
def test_the_wheel_holds_the_sources_the_assets_and_the_licence_alone(wheel: Path) -> None:
    assets = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix in {".html", ".css", ".js"}]
    assets += [*(ROOT / "pipeline").rglob("*.svg"), *(ROOT / "recipes").rglob("*.*"), ROOT / "py.typed"]
    found = contents(wheel)
    own = {name: content for name, content in found.items() if name.startswith("msa/")}
    assert own == {f"msa/{path.relative_to(ROOT).as_posix()}": path.read_bytes() for path in [*SOURCES, *assets]}
    info = f"msa_pipeline-{PROJECT['version']}.dist-info"
    files = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    assert found.keys() - own.keys() == {f"{info}/{name}" for name in files}
    assert found[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_the_sdist_holds_what_the_wheel_is_made_of_and_the_pages(wheel: Path) -> None:
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as opened:
        names = {name.partition("/")[2] for name in opened.getnames() if not opened.getmember(name).isdir()}
    made = {"PKG-INFO", "setup.cfg"} | {name for name in names if name.startswith("msa_pipeline.egg-info/")}
    packaged = {name.removeprefix("msa/") for name in contents(wheel) if name.startswith("msa/")}
    pages = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "README.zh.md", "pyproject.toml"}
    assert names == packaged | pages | made


@pytest.mark.slow
def test_the_context_of_the_image_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert contents(build(copy_context(tmp_path / "src"), tmp_path / "out", "--wheel")) == contents(wheel)


@pytest.mark.slow
def test_the_installed_wheel_runs_the_whole_job(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has the wheel, and the other packages of this one behind it."""
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    msa = python.with_name("msa")
    assert Path(run(python, "-c", "import msa; print(msa.__file__)").strip()).is_relative_to(packages)
    assert run(msa, "--version") == f"msa {PROJECT['version']}\n"
    assert "report.html" in run(msa, "demo", "demo")
    assert (tmp_path / "demo" / "runs" / "attention" / "report.html").exists()
    assert "R2-fourway" in run(msa, "recipes")


def test_the_version_is_the_same_everywhere() -> None:
    headings = re.findall(r"^## \[(.*?)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == PROJECT["version"]
    assert f'{{% set version = "{PROJECT["version"]}" %}}' in read("conda.recipe/meta.yaml")


def test_the_conda_recipe_asks_for_what_the_package_asks_for() -> None:
    text = re.sub(r"\{%.*?%\}", "", read("conda.recipe/meta.yaml"))
    recipe = yaml.safe_load(re.sub(r"\{\{ *(\w+) *\}\}", r"\1", text))
    wanted = {f"python {PROJECT['requires-python']}"}
    for one in map(Requirement, PROJECT["dependencies"]):
        wanted.add(f"{CONDA_NAMES.get(one.name, one.name)} {one.specifier}")
    assert set(recipe["requirements"]["run"]) == wanted
    builds = [Requirement(one) for one in SETTINGS["build-system"]["requires"]]
    assert {f"{one.name} {one.specifier}" for one in builds} <= set(recipe["requirements"]["host"])
    scripts = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["build"]["entry_points"] == scripts
    assert (recipe["about"]["summary"], recipe["about"]["license"]) == (PROJECT["description"], PROJECT["license"])


def test_the_image_installs_extras_that_exist_on_a_python_that_is_allowed() -> None:
    lines = read("Dockerfile").splitlines()
    given = dict(line.removeprefix("ARG ").split("=", 1) for line in lines if line.startswith("ARG "))
    assert given["PYTHON"] in SpecifierSet(PROJECT["requires-python"])
    assert set(given["EXTRAS"].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert any(re.match(r'RUN pip install .*"/src\[\$\{EXTRAS\}\]"', line) for line in lines)
    assert any(re.match(r'RUN pip install .*torch torchvision --index-url "\$\{TORCH_INDEX\}"', line) for line in lines)
    words = [line.split()[0] for line in lines if re.match(r"[A-Z]", line)]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "USER root" not in lines


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_package_of_an_extra_is_answered_with_the_line_that_installs_it(extra: str) -> None:
    for distribution in EXTRAS[extra]:
        error = ModuleNotFoundError(f"No module named {distribution!r}", name=import_name(distribution))
        holders = [name for name, distributions in EXTRAS.items() if distribution in distributions]
        lines = [f"{distribution} is not installed: `{install_line(name)}`" for name in holders]
        assert explain_import_error(error) in lines
