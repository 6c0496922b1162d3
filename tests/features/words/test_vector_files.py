"""Vectors that were edited or cut are refused in one line, before gensim's C code reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.runtime import Runtime
from msa.features.encoders.word_vectors import FITTED_FILE, load_fitted, save_fitted
from msa.features.encoders.zoo import open_encoder
from msa.features.words.vector_files import read_vectors

pytest.importorskip("gensim")

CORPUS = ("a good day and a bad day", "good or bad", "a day and a night", "bad night") * 2
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("cache")
    source = open_encoder("gensim:doc2vec", "text", EncoderOptions(corpus=CORPUS))
    save_fitted(source.load(Runtime()), folder)
    return folder, source


def rewrite(arrays: Arrays, facts: dict[str, str], **changed: np.ndarray | None) -> bytes:
    from safetensors.numpy import save

    kept = {name: array for name, array in {**arrays, **changed}.items() if array is not None}
    return save({name: np.ascontiguousarray(array) for name, array in kept.items()}, metadata=facts)


@pytest.mark.parametrize(
    "change",
    [
        lambda a, f: rewrite(a, f, vectors=a["vectors"][:-1]),
        lambda a, f: rewrite(a, f, vectors=a["vectors"][:, :64], hidden=a["hidden"][:, :64]),
        lambda a, f: rewrite(a, f, vectors=a["vectors"].astype(np.float64)),
        lambda a, f: rewrite(a, f, vectors=a["vectors"].reshape(-1)),
        lambda a, f: rewrite(a, f, vectors=np.full_like(a["vectors"], np.nan)),
        lambda a, f: rewrite(a, f, vectors=None),
        lambda a, f: rewrite(a, f, hidden=a["hidden"][:1]),
        lambda a, f: rewrite(a, f, hidden=a["hidden"][:, :1]),
        lambda a, f: rewrite(a, f, hidden=a["hidden"].astype(np.float16)),
        lambda a, f: rewrite(a, f, hidden=np.full_like(a["hidden"], np.inf)),
        lambda a, f: rewrite(a, f, hidden=None),
        lambda a, f: rewrite(a, f, hidden=None, sampling=None),
        lambda a, f: rewrite(a, f, sampling=a["sampling"][:1]),
        lambda a, f: rewrite(a, f, sampling=a["sampling"][::-1]),
        lambda a, f: rewrite(a, f, sampling=np.zeros_like(a["sampling"])),
        lambda a, f: rewrite(a, f, sampling=a["sampling"].astype(np.int64)),
        lambda a, f: rewrite(a, f, more=a["sampling"]),
        lambda a, f: rewrite(a, {}),
        lambda a, f: rewrite(a, {"spec": f["spec"]}),
        lambda a, f: rewrite(a, f | {"words": "["}),
        lambda a, f: rewrite(a, f | {"words": "[" * 100_000}),
        lambda a, f: rewrite(a, f | {"words": "null"}),
        lambda a, f: rewrite(a, f | {"words": json.dumps([1] * len(a["vectors"]))}),
        lambda a, f: rewrite(a, f | {"words": json.dumps(["day"] * len(a["vectors"]))}),
        lambda a, f: rewrite(a, f | {"spec": "[]"}),
    ],
)
def test_an_edited_fit_never_reaches_gensim(
    fitted: tuple[Path, Any], tmp_path: Path, change: Callable[[Arrays, dict[str, str]], bytes]
) -> None:
    from safetensors import safe_open

    cache, source = fitted
    with safe_open(cache / source.spec.slug / FITTED_FILE, framework="numpy") as file:
        arrays, facts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    folder = tmp_path / source.spec.slug
    folder.mkdir()
    (folder / FITTED_FILE).write_bytes(rewrite(arrays, facts))
    load_fitted(source.specs, tmp_path)
    (folder / FITTED_FILE).write_bytes(change(arrays, facts))
    with pytest.raises(ValueError, match=r"the fitted gensim:doc2vec is missing or damaged in .*msa extract") as error:
        load_fitted(source.specs, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("2 2\ngood 1 nan\nbad 1 2\n", "NaN"), ("good 1 2\nbad inf 2\n", "NaN or infinity"), ("good 1 x 2\n", "must be")],
)
def test_numbers_that_are_none_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        open_encoder(f"gensim:{path}", "text").load(Runtime())


def test_a_header_that_asks_for_all_memory_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    path.write_bytes(f"{10**15} {10**6}\n".encode() + b"good \0\0\0\0")
    with pytest.raises(ValueError, match=r"vectors.bin' (needs more memory|is damaged)"):
        read_vectors(path, "binary", 10**6)
