"""The same commands write the same files, byte for byte, but for dates and seconds: in the study, and on pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cached_posts import cached_posts

from msa.cli import run_command

GIVEN = ["posts.csv", "--image", "images", "--text", "texts", "--device", "cpu"]
SMALL = [*GIVEN, "--folds", "2", "--epochs", "2", "--hidden", "8", "--inputs", "pooled"]
COMMANDS = (
    ["train-head", *SMALL, "--fusion", "gated"],
    ["ablate", *SMALL, "--fusion", "concat", "--modality", "image"],
    ["sweep", *SMALL, "--fusion", "gated,concat", "--set", "lr=1e-4..1e-3", "--trials", "3"],
    ["predict", "runs/gated", "posts.csv", "--rows", "all"],
)
TIMES = re.compile(rb'"(date|\w*seconds)": [^,\n}]+')


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    corpus = cached_posts(tmp_path)
    lines = [
        f"{one.id},{one.image.name},{one.text},{one.label}" for one in corpus.samples if isinstance(one.image, Path)
    ]
    (tmp_path / "posts.csv").write_text("\n".join(["id,image,text,label", *lines]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> dict[str, bytes]:
    """All files without dates and seconds; of the study, and of pages, which show seconds in cells, the names alone."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith("study.db-")]
    timed = (".db", ".html")
    return {str(file.relative_to(folder)): b"" if file.suffix in timed else without_times(file) for file in files}


def without_times(file: Path) -> bytes:
    if file.suffix != ".csv":
        return TIMES.sub(b"", file.read_bytes())
    header, *rows = (line.split(b",") for line in file.read_bytes().splitlines())
    kept = [number for number, name in enumerate(header) if b"seconds" not in name]
    return b"\n".join(b",".join(row[number] for number in kept) for row in (header, *rows))


@pytest.mark.slow
def test_the_same_commands_write_the_same_files(posts: Path) -> None:
    found = []
    for name in ("first", "second"):
        for command in COMMANDS:
            assert run_command(command) == 0, command
        found.append(written(posts / "runs"))
        (posts / "runs").rename(posts / name)
    first, second = found
    assert first.keys() == second.keys()
    assert len(first) > 15
    assert [file for file in first if first[file] != second[file]] == []
