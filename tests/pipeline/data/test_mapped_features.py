"""Features that do not fit into memory are joined once to files, and are the same numbers as in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cached_posts import HEAD, cached_posts, stage
from padded_inputs import padded

from msa.features.messages import Notice
from msa.features.store.joined import JOINED, joined_folders
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.memory import free_memory, read_size, usable_memory
from msa.pipeline.data.cached_features import CachedFeatures, find_spec, load_features
from msa.pipeline.data.inputs import build_inputs, fit_reductions
from msa.pipeline.data.prepare import prepare
from msa.pipeline.data.storage import New, Storage

Load = Callable[..., CachedFeatures]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    folder = tmp_path_factory.mktemp("posts")
    corpus, cache = cached_posts(folder), folder / "cache"
    specs = {modality: [find_spec(cache, f"{modality}s", modality)] for modality in ("image", "text")}  # type: ignore[arg-type]
    return partial(load_features, corpus, cache, **specs, tokens=True)


def test_sizes_are_read_as_people_write_them() -> None:
    sizes = ["4GB", "1.5 gb", "500MB", "2g", "12", "1e9", "3GiB"]
    assert [read_size(one) for one in sizes] == [4e9, 1.5e9, 5e8, 2e9, 12, 1e9, 3e9]
    for wrong in ("", "much", "-1GB", "0", "4 XB"):
        with pytest.raises(ValueError, match="must be a size, as 4GB"):
            read_size(wrong)
    assert usable_memory("1MB") == 10**6
    assert 0 < usable_memory("") <= free_memory()
    with pytest.raises(ValueError, match="got 'plenty'"):
        DataConfig(memory="plenty")


def load_mapped(load: Load, **options: bool) -> CachedFeatures:
    with pytest.warns(Notice, match=r"more than --memory \(1e-06 GB\): they are read in blocks"):
        return load(memory=1000, **options)


def test_mapped_features_are_those_in_memory(load: Load) -> None:
    inside, mapped = load(), load_mapped(load)
    assert not inside.storage.mapped
    assert mapped.storage.mapped
    for modality, side in mapped.sides.items():
        other = inside.sides[modality]
        assert isinstance(side.pooled, np.memmap)
        np.testing.assert_array_equal(side.pooled, other.pooled)
        np.testing.assert_array_equal(side.present, other.present)
        assert side.tokens is not None
        assert other.tokens is not None
        assert isinstance(side.tokens.values, np.memmap)
        for row in range(len(side.present)):
            np.testing.assert_array_equal(side.tokens.row(row), other.tokens.row(row))
        assert side.seconds == other.seconds or np.isnan(side.seconds)
    axes, fewer = (fit_reductions(one, np.arange(60), width=4, tokens=True) for one in (inside, mapped))
    assert {name: one.shape for name, one in fewer.items()} == {name: one.shape for name, one in axes.items()}
    inputs = [build_inputs(one, tokens=True, reductions=axes) for one in (inside, mapped)]
    assert [one.buffer > 0 for one in inputs] == [False, True]
    assert all(torch.equal(a, b) for a, b in zip(*map(padded, inputs), strict=True))


def test_what_fits_stays_in_memory(load: Load) -> None:
    assert not load(memory=10**9).storage.mapped


def test_joined_features_are_found_again(load: Load) -> None:
    cache = load_mapped(load).storage.cache
    assert cache is not None
    before = {path: path.stat().st_mtime_ns for path in (cache / JOINED).rglob("*.npy")}
    load_mapped(load)
    assert before == {path: path.stat().st_mtime_ns for path in (cache / JOINED).rglob("*.npy")}
    assert len(joined_folders(cache)) == 2
    load_mapped(load, tokens=False)
    assert len(joined_folders(cache)) == 4


def test_a_join_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 1)

    def fail(new: New) -> None:
        new("pooled", (2, 3), np.float32)[:] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.build("name", fail)
    assert joined_folders(tmp_path) == []
    assert not list((tmp_path / JOINED).glob(".name-*"))


def test_temporary_arrays_leave_no_file(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 1)
    made = storage.rows(5000, 3, lambda rows: np.arange(5000, dtype=np.float32)[rows, None].repeat(3, 1))
    assert isinstance(made, np.memmap)
    assert (made == np.arange(5000)[:, None]).all()
    assert not list((tmp_path / JOINED).iterdir())
    assert storage.empty((0, 3), np.float32).shape == (0, 3)
    assert storage.build("empty", lambda new: new("tokens", (0, 3), np.float16).sum())["tokens"].shape == (0, 3)


def test_classifiers_that_read_everything_say_so_before_anything_is_joined(tmp_path: Path) -> None:
    corpus = cached_posts(tmp_path)
    head = replace(HEAD, fusion="estimator:sklearn.svm.SVC", inputs="auto")
    with pytest.raises(ValueError, match=r"fitted to all posts at once.* give a larger --memory, another --fusion"):
        prepare(corpus, stage(corpus, memory="1kB"), head, seed=0)
    assert joined_folders(tmp_path / "cache") == []
