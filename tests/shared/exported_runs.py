"""Runs of untrained heads on drawn features, and these features as an exported model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import IMAGE, WORDS
from numpy.typing import NDArray

from msa.features.spec import EncoderSpec, Modality
from msa.features.store.json_files import write_json
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable, join_encoders
from msa.pipeline.data.inputs import build_inputs, dims_of, fit_reductions, towers_of
from msa.pipeline.data.ragged import Ragged
from msa.pipeline.data.split import Posts
from msa.pipeline.exporting.export import describe_model
from msa.pipeline.exporting.exported_model import Model
from msa.pipeline.exporting.graph import ExportedModel, feature_inputs
from msa.pipeline.exporting.programs import ONNX, export_program, save_onnx, save_torch
from msa.pipeline.metrics.probabilities import log_mean
from msa.pipeline.predict import predict_table
from msa.pipeline.runs.run_predictions import run_logits
from msa.pipeline.runs.runs import Run
from msa.pipeline.training.ensemble_head import build_stored

N = 70
RAW_TEXT = '{"vocabulary":50}'
PIXELS = EncoderSpec("pixels", "image", "raw", "none", "none", "rows", "mean", "{}", 96, "uint8")
PIECES = EncoderSpec("tokens", "text", "raw", "none", "none", "word pieces", "count", RAW_TEXT, 1, "int32")
SIDES: dict[Modality, tuple[EncoderSpec, ...]] = {"image": (IMAGE,), "text": (WORDS,)}


def drawn_table(spec: EncoderSpec, seed: int, *, tokens: bool) -> ModalityTable:
    """Features of N posts; every tenth from number `seed` on has none, and texts differ in their number of tokens."""
    draw = np.random.default_rng(seed)
    present = np.arange(N) % 10 != seed
    length = 32 if spec is PIXELS else 5
    if spec.raw:
        vectors: NDArray[Any] = draw.integers(0, 50, (N, length, spec.width)).astype(spec.dtype)
    else:
        vectors = draw.normal(size=(N, length, spec.width)).astype(np.float32)
    if not tokens and not spec.raw:
        return ModalityTable((spec,), present, np.where(present[:, None], vectors[:, 0], 0))
    lengths = draw.integers(1, length + 1, N) if spec.modality == "text" else np.full(N, length)
    mask = present[:, None] & (np.arange(length) < lengths[:, None])
    pooled = np.where(present[:, None], vectors.mean(1), 0).astype(np.float32)
    return ModalityTable((spec,), present, pooled, Ragged.of_padded(vectors, mask))


def drawn_features(sides: dict[Modality, tuple[EncoderSpec, ...]], *, tokens: bool, views: int = 0) -> CachedFeatures:
    """N posts with features of these encoders, and augmented views of their images."""
    tables = {}
    for modality, specs in sides.items():
        seeds = range(modality == "text", 10, 2)
        parts = [drawn_table(spec, seed, tokens=tokens) for spec, seed in zip(specs, seeds, strict=False)]
        if parts:
            tables[modality] = join_encoders(parts, tokens=tokens)
    if views:
        plain = tables["image"]
        pairs = [(n, replace(plain.specs[0], preprocess=f'{{"view":{n}}}')) for n in range(views)]
        changed = [replace(plain, specs=(spec,), pooled=plain.pooled * (n + 2)) for n, spec in pairs]
        tables["image"] = replace(plain, views=tuple(changed))
    names = [f"p{number}" for number in range(N)]
    posts = Posts(names, [None] * N, np.arange(N), [None] * N)
    return CachedFeatures(posts, ("a", "b", "c"), tables.get("image"), tables.get("text"))


def untrained_run(config: HeadConfig, table: CachedFeatures, folds: int = 2) -> Run:
    """Random heads with decision thresholds, reductions of each fold, and its temperature."""
    reductions = [
        fit_reductions(table, np.arange(fold, N, 2), width=config.token_width, tokens=config.tokens)
        for fold in range(folds)
    ]
    dims = dims_of(build_inputs(table, tokens=config.tokens, reductions=reductions[0]), table)
    towers = towers_of(table.specs, tokens=config.tokens)
    heads = [build_stored(config, number, dims, towers).eval() for number in range(folds * config.ensemble_size)]
    draw = torch.Generator().manual_seed(0)
    for head in heads:
        head.offsets.copy_(torch.randn(len(head.offsets), generator=draw) / 2)
        for weight in head.parameters():
            weight.data += torch.randn(weight.shape, generator=draw) / 20
    views = tuple(view.specs for view in table.image.views) if table.image else ()
    temperatures = tuple(1.5 - fold for fold in range(folds))
    return Run(config, table.classes, table.specs, Path(), heads, reductions, views, temperatures)


def write_programs(run: Run, folder: Path) -> list[Model]:
    """The run as ONNX and as a torch program, opened by the loader."""
    inputs, model = feature_inputs(run), ExportedModel(run)
    program = export_program(model, inputs)
    found = []
    for name in ("onnx", "torch"):
        (folder / name).mkdir()
        write_json(folder / name / "model.json", describe_model(run, inputs))
        if name == "onnx":
            save_onnx(program, inputs, folder / name / ONNX)
        else:
            save_torch(program, folder / name / "model.pt2")
        found.append(Model(folder / name))
    return found


def items_of(table: CachedFeatures) -> dict[str, list[NDArray[Any] | None]]:
    """The features of each post by the name of the model's input; None where a post has none."""
    found = {}
    for modality, side in table.sides.items():
        for number, part in enumerate(_encoders(side)):
            name = f"{modality}_{number}" if number else modality
            found[name] = _items(part)
        for number, view in enumerate(side.views, 1):
            found[f"{modality}_view{number}"] = _items(view)
    return found


def _encoders(side: ModalityTable) -> Sequence[ModalityTable]:
    if side.parts or len(side.specs) == 1:
        return side.parts or (side,)
    ends = np.cumsum([spec.width for spec in side.specs])[:-1]
    parts = np.split(side.pooled, ends, 1)
    return [
        ModalityTable((spec,), side.present & part.any(1), part) for spec, part in zip(side.specs, parts, strict=True)
    ]


def _items(part: ModalityTable) -> list[NDArray[Any] | None]:
    rows = []
    for row in range(N):
        item = part.pooled[row : row + 1]
        if part.tokens is not None:
            item = np.concatenate([item, part.tokens.row(row)])
        rows.append(item if part.present[row] else None)
    return rows


def check_equal(model: Model, run: Run, table: CachedFeatures) -> None:
    """Assert that a model gives what `msa predict` does: for one post, for 64, and for all."""
    wanted = predict_table(run, table, "cpu", False)
    logits = log_mean(run_logits(run, table))
    items = items_of(table)
    for rows in (slice(0, 1), slice(1, 2), slice(2, 66), slice(0, N)):
        given = {name: one[rows] for name, one in items.items()}
        found, probabilities = model.outputs(**given)
        np.testing.assert_allclose(found, logits[rows], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(probabilities, wanted.probabilities[rows], rtol=1e-5, atol=1e-5)
        assert model.predict(**given)[0] == wanted.labels[rows]
