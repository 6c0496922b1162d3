"""Every command of docs/figures.md runs on a few posts and writes the files that the page names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from msa.cli import run_command
from msa.features.cache.imported_arrays import ImportedArrays
from msa.features.cache.importing import import_embeddings
from msa.features.posts.layouts import read_corpus

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("figures.md", "figures.zh.md")
LABELS = ("positive", "negative", "neutral")
N = 48
SETTINGS = """
image = ["images"]
text = ["texts"]
cache = "cache"
device = "cpu"
folds = 2
epochs = 2
batch-size = 16
hidden = 16
patches = "none"

[sweep]
folds = 2
"""


def write_posts(folder: Path) -> None:
    """N posts in the layout of the reports, cached features of two image encoders and a text encoder, and msa.toml."""
    (folder / "posts" / "data").mkdir(parents=True)
    lines = ["guid,tag"]
    for number in range(N):
        (folder / f"posts/data/{number}.jpg").write_bytes(f"image {number}".encode())
        (folder / f"posts/data/{number}.txt").write_text(f"text {number}")
        lines.append(f"{number},{LABELS[number % 3]}")
    (folder / "posts/train.txt").write_text("\n".join(lines))
    (folder / "msa.toml").write_text(SETTINGS)
    corpus = read_corpus(folder / "posts")
    draw, cuts = np.random.default_rng(0), np.arange(0, 3 * N + 1, 3)
    for name, modality in (("images", "image"), ("others", "image"), ("texts", "text")):
        vectors = draw.normal(size=(N, 3, 8)).astype(np.float32)
        arrays = ImportedArrays(vectors[:, 0], [one.id for one in corpus.samples], vectors.reshape(-1, 8), cuts)
        import_embeddings(corpus, folder / "cache", arrays, name=name, modality=modality)  # type: ignore[arg-type]


def commands(page: str) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The commands that train, and each command of the table with the files that it is listed with."""
    text = (DOCS / page).read_text("utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    rows = re.findall(r"^\| R\d \|[^|]*\| `([^`]+)` \|([^|]*)\|$", text, re.MULTILINE)
    return block.splitlines(), [(command, re.findall(r"`([a-z-]+)`", files)) for command, files in rows]


def test_both_pages_give_the_same_commands_for_the_same_files() -> None:
    english, chinese = map(commands, PAGES)
    assert english == chinese
    assert {*map(len, english)} == {7, 16}


@pytest.mark.slow
def test_every_command_makes_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_posts(tmp_path)
    monkeypatch.chdir(tmp_path)
    training, listed = commands(PAGES[0])
    for command in training:
        assert run_command(shlex.split(command)[1:]) == 0, command
    for command, files in listed:
        capsys.readouterr()
        words = shlex.split(command.replace("resnet50,vit_b_16", "images,others"))[1:]
        assert run_command(words) == 0, command
        assert len(capsys.readouterr().out) > 40
        if "--name" in words and files:  # its figures are on the page, and files by one more command
            name = words[words.index("--name") + 1]
            assert (tmp_path / "runs" / name / "report.html").is_file()
            assert run_command(["report", name, "--figures", "figures"]) == 0
        if words[0] == "ablate":
            name = f"ablate-{words[words.index('--fusion') + 1]}"
            assert run_command(["report", name, "--figures", "figures"]) == 0
            assert "weighted" in (tmp_path / "figures" / "table-ablation.csv").read_text("utf-8-sig").splitlines()[0]
        for file in files:
            kinds = ("csv", "md", "tex") if file.startswith("table-") else ("csv", "pdf", "png", "svg")
            for kind in kinds:
                path = tmp_path / "figures" / f"{file}.{kind}"
                assert path.stat().st_size > 20, (command, file)
                path.unlink()
