"""What goes through a file to another process arrives as it was, and the file stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from msa.pipeline.sweeps.shared_memory import read_shared, write_shared


def test_everything_arrives(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    value = {
        "large": draw.normal(size=(700, 33)).astype(np.float32),
        "empty": np.empty((0, 4)),
        "turned": draw.normal(size=(5, 7)).T,
        "strided": np.arange(20)[::3],
        "words": ["α", "b"],
        "last": np.empty(0, np.int64),
    }
    write_shared(tmp_path / "value", value)
    found = read_shared(tmp_path / "value")
    assert found.keys() == value.keys()
    assert found["words"] == value["words"]
    for name in value.keys() - {"words"}:
        np.testing.assert_array_equal(found[name], value[name])
        assert found[name].dtype == value[name].dtype


def test_arrays_are_writable_and_the_file_is_not_written(tmp_path: Path) -> None:
    write_shared(tmp_path / "value", np.zeros(10_000))
    before = (tmp_path / "value").read_bytes()
    one, two = read_shared(tmp_path / "value"), read_shared(tmp_path / "value")
    one[:] = 1
    assert not two.any()
    assert (tmp_path / "value").read_bytes() == before
