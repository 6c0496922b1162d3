"""An exported model: feature arrays in, labels and probabilities out. Needs numpy, and onnxruntime or torch.

This file lies in the folder of every exported model and imports nothing else of msa.

>>> from exported_model import Model
>>> labels, probabilities = Model(".").predict(image=image_features, text=text_features)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1  # of model.json
BATCH = 256  # posts that are computed at once
Arrays = dict[str, NDArray[Any]]
Item = NDArray[Any] | None  # the features (L, D) or (D,) of one post; None where it lacks them
Items = Sequence[Item] | NDArray[Any]  # those of all posts


class Model:
    """An exported model. `classes` are the labels, `inputs` what it reads: name, width, and how many positions."""

    def __init__(self, folder: str | Path = ".") -> None:
        """Open the ONNX model of a folder with onnxruntime; where there is none, the torch program with torch.

        Raises ValueError for a folder of another format than this file reads.
        """
        folder = Path(folder)
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise ValueError(
                f"{folder / 'model.json'}: format {described['format']!r}, but this loader reads format {FORMAT}; "
                "use the exported_model.py that lies beside it"
            )
        self.classes: list[str] = described["classes"]
        self.inputs: dict[str, dict[str, Any]] = {one["name"]: one for one in described["inputs"]}
        self.run = _open(folder)

    def predict(self, **features: Items | None) -> tuple[list[str], NDArray[np.float32]]:
        """The labels of N posts and their probabilities (N, K), in the order of `classes`; see `outputs`."""
        logits, probabilities = self.outputs(**features)
        return [self.classes[int(best)] for best in logits.argmax(1)], probabilities

    def outputs(self, **features: Items | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (N, K), the largest of which is the label, and probabilities (N, K).

        For each input, features of N posts in one order: an array (N, D) or (N, L, D), or a sequence with an array
        (D,) or (L, D) for each post and None for one that lacks them. Of L positions, the pooled vector is the first,
        tokens follow; a model of pooled vectors does not read these. An input that is left out is missing in all posts,
        an augmented view that is left out is the plain one. Raises ValueError for what does not fit.
        """
        unknown = sorted(set(features) - set(self.inputs))
        if unknown:
            raise ValueError(f"there is no input {', '.join(unknown)}; the model reads {', '.join(self.inputs)}")
        given = {name: items for name, items in features.items() if items is not None}
        counts = {name: len(items) for name, items in given.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"all inputs must have the same number of posts, and one must be given; got {counts}")
        rows = next(iter(counts.values()))
        found = [self.run(self._batch(given, start, min(start + BATCH, rows))) for start in range(0, rows, BATCH)]
        empty = np.empty((0, len(self.classes)), np.float32)
        logits, probabilities = zip(*found, strict=True) if found else ([empty], [empty])
        return np.concatenate(logits), np.concatenate(probabilities)

    def _batch(self, given: Mapping[str, Items], start: int, end: int) -> Arrays:
        """The arrays that the model reads of some posts: vectors (B, L, D), padded, and masks (B, L)."""
        arrays: Arrays = {}
        for name, one in self.inputs.items():
            source = name if name in given else one["view_of"]  # a view that is not given is the plain one
            items = given[source][start:end] if source in given else [None] * (end - start)
            read = [None if item is None else self._read(one, np.asarray(item)) for item in items]
            longest = max((len(item) for item in read if item is not None), default=0)
            length = one["length"] or max(longest, one["low"])
            vectors = np.zeros((len(read), length, one["width"]), np.float32)
            mask = np.zeros((len(read), length), bool)
            for row, item in enumerate(read):
                if item is not None:
                    vectors[row, : len(item)], mask[row, : len(item)] = item, True
            arrays[name] = vectors
            arrays.setdefault(one["mask"], mask)
        return arrays

    def _read(self, one: Mapping[str, Any], item: NDArray[Any]) -> NDArray[np.float32]:
        """The features of one post as (L, D), image tokens averaged to the patches that the model was trained on."""
        name, length, high = one["name"], one["length"], one["high"]
        item = np.atleast_2d(item).astype(np.float32)
        if length == 1:
            item = item[:1]  # a model of pooled vectors reads no tokens
        if one["patches"] and item.shape[0] > 1:
            item = np.concatenate([item[:1], coarsen(item[1:], one["patches"])])
        fits = item.ndim == 2 and item.shape[1] == one["width"]
        if not fits or len(item) not in ((length,) if length else range(1, (high or len(item)) + 1)):
            wanted = length or ("L" if high is None else f"L ≤ {high}")
            raise ValueError(f"{name} wants ({wanted}, {one['width']}) for a post; got {item.shape}")
        if not np.isfinite(item).all():
            raise ValueError(f"the {name} features of a post hold NaN or infinity")
        return item


def coarsen(tokens: NDArray[Any], grid: Sequence[int]) -> NDArray[np.float32]:
    """Average a square map of tokens (T, D) down to rows x columns; a leading class token is left out.

    Cells are those of adaptive average pooling. Raises ValueError where there is no such map.
    """
    rows, columns = grid
    count = len(tokens) - (isqrt(len(tokens)) ** 2 != len(tokens))
    side = isqrt(count)
    if side * side != count or max(rows, columns) > side:
        raise ValueError(f"{len(tokens)} image tokens are no square map of {rows}x{columns} patches or more")
    image = tokens[-count:].reshape(side, side, -1)

    def cells(parts: int) -> list[tuple[int, int]]:
        return [(i * side // parts, -(-(i + 1) * side // parts)) for i in range(parts)]

    lines = np.stack([image[a:b].mean(0) for a, b in cells(rows)])
    return np.stack([lines[:, a:b].mean(1) for a, b in cells(columns)], 1).reshape(rows * columns, -1)


def read_features(folder: str | Path) -> dict[str, NDArray[Any]]:
    """The features (L, D) of each post by id, as `msa cache export ENCODER POSTS --to FOLDER` writes them (npy)."""
    folder = Path(folder)
    ids = (folder / "ids.txt").read_text(encoding="utf-8").split("\n")[:-1]
    pooled = np.load(folder / "pooled.npy", mmap_mode="r")
    if not (folder / "tokens.npy").exists():
        return dict(zip(ids, pooled[:, None], strict=True))
    tokens, offsets = np.load(folder / "tokens.npy", mmap_mode="r"), np.load(folder / "offsets.npy")
    return {
        name: np.concatenate([pooled[row : row + 1], tokens[offsets[row] : offsets[row + 1]]])
        for row, name in enumerate(ids)
    }


def _open(folder: Path) -> Callable[[Arrays], Sequence[NDArray[np.float32]]]:
    if (folder / "model.onnx").exists():
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        return lambda arrays: session.run(["logits", "probabilities"], arrays)
    import torch

    module = torch.export.load(folder / "model.pt2").module()

    def run(arrays: Arrays) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            outputs = module({name: torch.from_numpy(array) for name, array in arrays.items()})
        return [output.numpy() for output in outputs]

    return run
