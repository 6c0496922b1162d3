"""Arrays that msa writes piece by piece are read by NumPy and by safetensors as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from msa.features.cache.arrays import make_npy_files, text_lines, write_safetensors


def test_mapped_files_are_read_by_numpy_and_safetensors(tmp_path: Path) -> None:
    shapes = {"odd": (np.dtype("float16"), (3, 1)), "vectors": (np.dtype("float32"), (2, 3))}
    arrays = make_npy_files(tmp_path / "npy", shapes)
    arrays["odd"][:] = [[1], [2], [3]]
    arrays["vectors"][:] = np.arange(6).reshape(2, 3)
    for name, array in arrays.items():
        array.flush()  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.load(tmp_path / "npy" / f"{name}.npy"), array)
    write_safetensors(tmp_path / "all.safetensors", arrays, {"made": "here"})
    with safe_open(tmp_path / "all.safetensors", "np") as file:
        assert file.metadata() == {"made": "here"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


def test_a_value_of_two_lines_is_refused() -> None:
    assert text_lines("ids", ["a", "ü"]) == "a\nü\n".encode()
    with pytest.raises(ValueError, match="holds a line break; rename it"):
        text_lines("ids", ["a\nb"])
