"""The demo corpus: labels that need both modalities, planted faults, reproducible bytes."""

from __future__ import annotations

import csv
import hashlib
import re
import tomllib
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from msa.pipeline.demo.demo import LABELS, MARKER, PAIRS, DemoSummary, write_demo_corpus
from msa.pipeline.demo.pictures import SCENES, Mood, draw_scene
from msa.pipeline.demo.texts import CHINESE, ENGLISH, VALENCE, Tone, write_post


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoSummary]:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    return folder, write_demo_corpus(folder)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def images(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in (folder / "data").iterdir() if p.suffix != ".txt"}


def test_the_course_layout_and_the_summary_agree(corpus: tuple[Path, DemoSummary]) -> None:
    folder, summary = corpus
    (header, *train), (test_header, *test) = rows(folder / "train.txt"), rows(folder / "test_without_label.txt")
    assert header == test_header == ["guid", "tag"]
    assert Counter(tag for _, tag in train) == Counter(summary.labels)
    assert set(summary.labels) == set(LABELS)
    assert {tag for _, tag in test} == {"null"}
    assert (len(train), len(test), summary.unlabelled, summary.posts) == (280, 40, 40, 320)
    guids = {guid for guid, _ in train + test}
    assert len(guids) == 320
    texts = {p.stem for p in (folder / "data").glob("*.txt")}
    assert len(guids - images(folder).keys()) == summary.missing_image > 0
    assert len(guids - texts) == summary.missing_text > 0
    assert images(folder).keys() | texts <= guids


def test_no_class_has_most_of_the_posts(corpus: tuple[Path, DemoSummary]) -> None:
    labels = corpus[1].labels
    assert max(labels.values()) <= 0.5 * sum(labels.values())
    assert min(labels.values()) >= 0.1 * sum(labels.values())
    assert {mood for mood, _ in PAIRS} == set(SCENES)
    assert {tone for _, tone in PAIRS} == set(VALENCE) == set(ENGLISH) == set(CHINESE)


def test_the_planted_faults_are_there(corpus: tuple[Path, DemoSummary]) -> None:
    folder, summary = corpus
    modes, suffixes, unreadable, disguised, turned = set(), set(), 0, 0, 0
    for path in images(folder).values():
        suffixes.add(path.suffix)
        try:
            with Image.open(path) as image:
                modes.add(image.mode)
                disguised += image.format == "PNG" and path.suffix == ".jpg"
                turned += image.getexif().get(0x0112) == 6
                image.load()
        except OSError:
            unreadable += 1
    assert modes == {"RGB", "L", "P", "CMYK"}
    assert suffixes == {".jpg", ".JPG", ".png"}
    assert (unreadable, summary.unreadable) == (1, 1)
    assert disguised > 0
    assert turned > 0

    texts = [p.read_bytes() for p in (folder / "data").glob("*.txt")]
    foreign = []
    for text in texts:
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            foreign.append(text.decode("gb18030"))
    assert any(re.search(r"[\u4e00-\u9fff]", text) for text in foreign)
    assert any(text.startswith("“") for text in foreign)
    assert any(text.startswith(b"\xef\xbb\xbf") for text in texts)
    assert any(text.endswith(b"\r\n") for text in texts)
    pictures = [path.read_bytes() for path in images(folder).values()]
    repeats = [sum(n - 1 for n in Counter(parts).values()) for parts in (texts, pictures)]
    assert min(repeats) > 0
    assert sum(repeats) == summary.duplicates


def test_the_label_needs_both_parts() -> None:
    """Both parts determine the label; one part leaves a quarter of the posts undetermined."""

    def determined(key: int | None) -> float:
        counts: dict[object, Counter[bool | None]] = {}
        for (mood, tone), weight in PAIRS.items():
            score = mood + VALENCE[tone]
            cue = (mood, tone) if key is None else (mood, tone)[key]
            counts.setdefault(cue, Counter())[None if score == 0 else score > 0] += weight
        return sum(max(count.values()) for count in counts.values()) / sum(PAIRS.values())

    assert determined(None) == 1
    assert determined(0) < 0.76
    assert determined(1) < 0.76


def test_one_seed_one_corpus(tmp_path: Path) -> None:
    first, again, other = (write_demo_corpus(tmp_path / n, posts=64, seed=s) for n, s in (("a", 1), ("b", 1), ("c", 2)))
    assert digest(again.folder) == digest(first.folder)
    assert again.labels == first.labels
    assert digest(other.folder)["train.txt"] != digest(first.folder)["train.txt"]


def test_a_demo_corpus_replaces_an_earlier_one(tmp_path: Path) -> None:
    write_demo_corpus(tmp_path / "a", posts=64, seed=3)
    write_demo_corpus(tmp_path / "b", posts=80, seed=4)
    (tmp_path / "b" / "runs").mkdir()
    (tmp_path / "b" / "msa.toml").write_text("# mine\n", encoding="utf-8")
    write_demo_corpus(tmp_path / "b", posts=64, seed=3)
    assert (tmp_path / "b" / "msa.toml").read_text(encoding="utf-8") == "# mine\n"
    (tmp_path / "a" / "msa.toml").write_text("# mine\n", encoding="utf-8")
    assert digest(tmp_path / "b") == digest(tmp_path / "a")
    assert (tmp_path / "b" / "runs").is_dir()


def test_folders_with_other_content_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "7.txt"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="is not a demo corpus and not empty; name a new or empty folder"):
        write_demo_corpus(tmp_path)
    with pytest.raises(ValueError, match="is a file; name another"):
        write_demo_corpus(file)
    with pytest.raises(ValueError, match="at least 64 posts, got 10"):
        write_demo_corpus(tmp_path / "small", posts=10)
    assert [p.name for p in tmp_path.iterdir()] == ["7.txt"]


def test_it_is_marked_as_drawn_and_has_a_configuration(corpus: tuple[Path, DemoSummary]) -> None:
    folder, summary = corpus
    assert str(summary).startswith(f"320 drawn posts, not real data, in {folder}: ")
    assert "not real data" in (folder / MARKER).read_text(encoding="utf-8")
    config = tomllib.loads((folder / "msa.toml").read_text(encoding="utf-8"))
    assert config == {"data": ".", "image": "efficientnet_lite0", "text": "minilm"}


@pytest.mark.parametrize("mood", SCENES)
def test_a_scene_varies_with_the_seed_alone(mood: Mood) -> None:
    drawn = [draw_scene(mood, Random(seed)).tobytes() for seed in range(8)]
    assert len(set(drawn)) == 8
    assert draw_scene(mood, Random(5)).tobytes() == drawn[5]


@pytest.mark.parametrize("tone", VALENCE)
def test_a_post_fills_all_its_blanks(tone: Tone) -> None:
    for seed in range(60):
        for chinese in (False, True):
            text = write_post(tone, Random(seed), chinese=chinese)
            assert text
            assert not set("{}\n") & set(text)
