"""CITATION.cff describes this package in version 1.2.0 of its format, and names no person."""

from __future__ import annotations

import tomllib

import yaml
from source_files import ROOT


def test_the_citation_is_that_of_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {"cff-version", "message", "title", "authors"}
    assert required <= cited.keys() <= required | {"type", "abstract", "version", "license", "keywords"}
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert [author.keys() for author in cited["authors"]] == [{"name"}]  # an entity; a person has family-names
