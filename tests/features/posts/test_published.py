"""Public data sets in the layouts of their release, read by the commands that docs/datasets.md gives."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from msa.cli import run_command
from msa.features.posts.layouts import ReadOptions, read_corpus
from tests.shared import published

ROOT = Path(__file__).parents[3]
SETS = {
    "Twitter-2015": published.write_twitter,
    "MMSD": published.write_mmsd,
    "CrisisMMD": published.write_crisis,
    "Hateful Memes": published.write_memes,
    "Fakeddit": published.write_fakeddit,
    "MVSA-Single": published.write_mvsa,
}
# What each command of a data set reads: rows, splits, labels, posts without image and text, problems, and notes.
READ: dict[str, list[tuple[int, dict[str, int], dict[str, int], int, int, int, list[str]]]] = {
    "Twitter-2015": [
        (
            *(5, {"train": 3, "val": 1, "test": 1}, {"0": 2, "1": 2, "2": 1}, 0, 0, 0),
            ["takes the place of $T$, and is repeated on a line below: 5", "test.tsv: the first column"],
        ),
        (5, {"train": 3, "val": 1, "test": 1}, {"-1": 2, "0": 2, "1": 1}, 0, 0, 0, ["of $T$, and is repeated"]),
    ],
    "MMSD": [(4, {"train": 2, "val": 1, "test": 1}, {"0": 2, "1": 2}, 1, 0, 1, ["1 images not found"])],
    "CrisisMMD": [
        (4, {"train": 2, "val": 1, "test": 1}, {"informative": 3, "not_informative": 1}, 0, 0, 0, []),
        (2, {}, {"other_relevant_information": 2}, 0, 0, 0, []),
    ],
    "Hateful Memes": [
        (
            *(5, {"train": 2, "val": 1, "test": 2}, {"0": 2, "1": 3}, 0, 0, 0),
            ["posts in two files, read as one with its label: 1 (dev_seen.jsonl and dev_unseen.jsonl: 1)"],
        )
    ],
    "Fakeddit": [(5, {"train": 3, "val": 1, "test": 1}, {"0": 2, "2": 2, "4": 1}, 1, 1, 1, ["1 images not found"])],
    "MVSA-Single": [
        (2, {}, {"negative": 1, "positive": 1}, 0, 0, 0, ["kept 2, dropped 2 (1 without a majority, 1 contradictory)"])
    ],
}


def commands(page: str, name: str) -> list[list[str]]:
    """The words of the `msa check` commands in the section of a data set."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = next(part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(name))
    return [shlex.split(line)[1:] for line in section.splitlines() if line.startswith("msa check")]


@pytest.mark.parametrize("page", ["datasets.md", "datasets.zh.md"])
@pytest.mark.parametrize("name", SETS)
def test_the_commands_of_the_page_read_each_data_set(
    name: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SETS[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = commands(page, name)
    assert len(asked) == len(READ[name])
    for words, (rows, splits, labels, no_image, no_text, problems, notes) in zip(asked, READ[name], strict=True):
        assert run_command([*words, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert (found["rows"], found["splits"], found["labels"]) == (rows, splits, labels), found
        assert (found["missing_image"], found["missing_text"], len(found["problems"])) == (no_image, no_text, problems)
        assert all(any(note in one for one in found["notes"]) for note in notes), found["notes"]


def test_the_aspect_is_in_the_text_and_posts_of_one_tweet_share_their_image(tmp_path: Path) -> None:
    published.write_twitter(tmp_path)
    columns = {"label": "#2", "image": "#3", "text": "#4+#5"}
    options = ReadOptions(columns=columns, images=tmp_path / "twitter2015_images")
    first, second, *_, last = read_corpus(tmp_path / "twitter2015", options=options).samples
    sentence = 'RT @ fan : Met Joe Johnson with Anna , " wow !'
    assert (first.text, second.text) == (f"{sentence}\nJoe Johnson", f"{sentence}\nAnna")
    assert (first.label, second.label, first.image == second.image) == ("2", "1", True)
    assert (last.text, last.split) == ("The Late show goes on\nLate", "test")


def test_splits_of_several_data_sets_in_one_folder_are_refused_with_patterns_that_work(tmp_path: Path) -> None:
    published.write_crisis(tmp_path)
    folder = tmp_path / "crisismmd_datasplit_all"
    columns = {"id": "image_id", "text": "tweet_text"}
    options = ReadOptions(columns=columns, images=tmp_path / "CrisisMMD_v2.0")
    with pytest.raises(ValueError, match="holds the splits of several data sets; name one, as") as error:
        read_corpus(folder, options=options)
    patterns = re.findall(r"'([^']+)'", str(error.value))
    read = [read_corpus(Path(pattern), options=options) for pattern in patterns]
    assert [corpus.name for corpus in read] == ["task_damage_text_img", "task_informative_text_img"]
    assert [len(corpus.samples) for corpus in read] == [3, 4]
    with pytest.raises(ValueError, match=r"no table is named .*task_humanitarian"):
        read_corpus(folder / "task_humanitarian_*.tsv", options=options)
    with pytest.raises(ValueError, match="leave out --layout mvsa"):
        read_corpus(folder / "task_damage_*.tsv", layout="mvsa")
