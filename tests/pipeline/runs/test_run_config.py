"""What trains a run again is read from its folder; an edited configuration is refused in one line that names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.features.posts.samples import Corpus
from msa.pipeline.runs.run_config import read_settings
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import train_head


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def run(posts: Corpus) -> Path:
    given = {"limit": 9, "column": ["text=t"]}
    return train_head(posts, stage(posts, repeats=2), HEAD, QUICK, runs=posts.root / "runs", reading=given).run


def test_the_stored_settings_train_the_same_run(posts: Corpus, run: Path) -> None:
    found = read_settings(run)
    assert (found.head, found.training) == (HEAD, QUICK)
    assert found.data_config.cache == (posts.root / "cache").resolve()
    assert (found.data_config.folds, found.data_config.repeats) == (3, 2)
    assert found.others == {"unlabelled": "none", "limit": 9, "column": ["text=t"]}
    again = train_head(posts, found.data_config, found.head, found.training, runs=posts.root / "runs").run
    first, second = (json.loads((one / "metrics.json").read_text()) for one in (run, again))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["head"], []),
        (["head", "hidden"], "8"),
        (["head", "hidden"], 16),
        (["head", "patches"], 5),
        (["head", "fusion"], "nothing"),
        (["head", "options"], 3),
        (["head", "ensemble_size"], 4),
        (["dims"], None),
        (["dims", "classes"], 2),
        (["dims", "text"], 10**30),
        (["dims", "image_parts"], ["x"]),
        (["classes"], "abc"),
        (["classes"], ["a", "b"]),
        (["classes"], ["a", "b", 3]),
        (["temperatures"], [1.0]),
        (["temperatures"], [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
        (["temperatures"], ["1", 1.0, 1.0, 1.0, 1.0, 1.0]),
        (["temperatures"], {"a": 1}),
        (["temperatures"], 2),
        (["encoders"], []),
        (["encoders", "image"], [{"name": "images"}]),
        (["encoders", "text"], {}),
        (["encoders", "text"], []),
        (["encoders", "text", 0, "layer"], "other"),
        (["cache"], 7),
    ],
)
def test_an_edited_configuration_is_one_line(run: Path, tmp_path: Path, path: list[Any], value: Any) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    stored = whole = json.loads((copy / "config.json").read_text())
    for name in path[:-1]:
        stored = stored[name]
    stored[path[-1]] = value
    (copy / "config.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=r"config\.json|head\.safetensors") as error:
        load_run(copy)
    assert "\n" not in str(error.value)
