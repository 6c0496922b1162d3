"""The command that installs an extra works for how msa was installed, and none names a package that no index has."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from source_files import ROOT, SOURCES, relative

from msa.features import installation
from msa.features.installation import DISTRIBUTION, install_line


def installed_from(monkeypatch: pytest.MonkeyPatch, stored: object) -> None:
    """Make msa look installed with this `direct_url.json`; a text is its content, None has no file."""
    text = stored if isinstance(stored, str | None) else json.dumps(stored)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))


@pytest.mark.parametrize(("editable", "option"), [(True, "-e "), (False, "")])
def test_an_extra_is_installed_from_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, editable: bool, option: str
) -> None:
    folder = tmp_path / "my clone"
    folder.mkdir()
    installed_from(monkeypatch, {"url": folder.as_uri(), "dir_info": {"editable": editable} if editable else {}})
    assert install_line("gensim") == f"pip install {option}'{folder}[gensim]'"


def test_an_extra_is_installed_from_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "msa.whl"
    wheel.touch()
    installed_from(monkeypatch, {"url": wheel.as_uri(), "archive_info": {}})
    assert install_line("ray") == f"pip install '{wheel}[ray]'"


@pytest.mark.parametrize(
    ("stored", "source"),
    [
        ({"url": "https://a.org/m.whl", "archive_info": {}}, "https://a.org/m.whl"),
        ({"url": "https://a.org/m", "vcs_info": {"vcs": "git", "commit_id": "0f"}}, "git+https://a.org/m@0f"),
    ],
)
def test_an_extra_is_installed_from_the_web(monkeypatch: pytest.MonkeyPatch, stored: object, source: str) -> None:
    installed_from(monkeypatch, stored)
    assert install_line("parquet") == f"pip install '{DISTRIBUTION}[parquet] @ {source}'"


@pytest.mark.parametrize(
    "stored", [None, "{", "[]", {"url": None}, {"url": "file:///not/there", "dir_info": {"editable": True}}]
)
def test_the_packages_of_an_extra_are_named_where_the_source_is_gone(
    monkeypatch: pytest.MonkeyPatch, stored: object
) -> None:
    installed_from(monkeypatch, stored)
    assert install_line("gensim") == "pip install gensim jieba"


def test_a_package_that_is_not_installed_at_all_has_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation.metadata, "distribution", missing)
    assert install_line("parquet") == "pip install pyarrow"


def test_no_source_and_no_page_tells_to_install_the_bare_name() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests").rglob("*.py")]
    named = [
        path for path in [*SOURCES, *pages] if re.search(rf"pip install[^`]*{DISTRIBUTION}", path.read_text("utf-8"))
    ]
    assert relative([path for path in named if path != Path(__file__).resolve()]) == []
    assert relative([path for path in SOURCES if DISTRIBUTION in path.read_text("utf-8")]) == [
        "features/installation.py"
    ]
