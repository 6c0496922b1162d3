"""The module of a run as a torch program and as ONNX; each must give its numbers before it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ...features.spec import EncoderSpec, Reads
from .graph import FEWEST, ExportedModel, FeatureInput

ONNX, TORCH = "model.onnx", "model.pt2"
OUTPUTS = ("logits", "probabilities")
BATCHES = ((1, FEWEST), (2, 30), (64, 9))  # rows and positions of the features that are compared
TOLERANCE = 1e-5  # of each number, absolute and relative
Features = dict[str, Tensor]


def export_program(model: ExportedModel, inputs: Sequence[FeatureInput]) -> ExportedProgram:
    """The module as a program of torch.export, for batches of any size and any number of tokens."""
    bounds = {_axis(one): (one.low, one.high) for one in inputs if one.length is None}
    dims = {"batch": Dim("batch", min=1)} | {name: Dim(name, min=a, max=b) for name, (a, b) in bounds.items()}
    shapes = {name: {at: dims[axis] for at, axis in axes.items()} for name, axes in dynamic_axes(inputs).items()}
    example = draw_features(inputs, rows=3, positions=FEWEST + 2)
    with torch.no_grad():
        program = torch.export.export(model, (example,), dynamic_shapes=(shapes,), strict=False)
    for node in program.graph.nodes:  # where the code lies on this machine is nobody's business
        node.meta.pop("stack_trace", None)
    return program


def dynamic_axes(inputs: Sequence[FeatureInput]) -> dict[str, dict[int, str]]:
    """The names of the axes whose length is free, of each input and each mask."""
    return {
        name: {0: "batch"} if one.length else {0: "batch", 1: _axis(one)}
        for one in inputs
        for name in (one.name, one.mask)
    }


def _axis(one: FeatureInput) -> str:
    return f"{one.view_of or one.name}_positions"


def save_torch(program: ExportedProgram, file: Path) -> None:
    """Write a program that `torch.export.load` reads."""
    torch.export.save(program, file)


def save_onnx(program: ExportedProgram, inputs: Sequence[FeatureInput], file: Path) -> None:
    """Write a program as ONNX, in one file."""
    names = dynamic_axes(inputs)
    owner = {axis: name for name, axes in reversed(names.items()) for axis in axes.values()}  # each is named once
    named = {name: {at: axis for at, axis in axes.items() if owner[axis] == name} for name, axes in names.items()}
    found = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=list(names),
        output_names=list(OUTPUTS),
        dynamic_shapes=(named,),
    )
    assert found is not None, "torch.onnx.export returns a program where dynamo is on"
    for graph in (found.model.graph, *(one.graph for one in found.model.functions.values())):
        for node in graph.all_nodes():
            node.metadata_props.clear()  # its code and where that lies on this machine
    found.save(file, external_data=False)


def open_torch(file: Path) -> Callable[[Features], list[NDArray[np.float32]]]:
    """What a saved program of torch gives for features."""
    module = torch.export.load(file).module()

    def predict(features: Features) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            return [output.numpy() for output in module(features)]

    return predict


def open_onnx(file: Path) -> Callable[[Features], list[NDArray[np.float32]]]:
    """What a saved ONNX model gives for features, by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def predict(features: Features) -> list[NDArray[np.float32]]:
        return list(session.run(list(OUTPUTS), {name: tensor.numpy() for name, tensor in features.items()}))

    return predict


OPEN = {TORCH: open_torch, ONNX: open_onnx}


def largest_difference(model: ExportedModel, inputs: Sequence[FeatureInput], file: Path) -> float:
    """The largest difference of a saved model's outputs from the module's, on drawn features.

    Batches of one and of many, few positions and more, and posts that lack either modality or both. Raises ValueError
    where a difference is above TOLERANCE.
    """
    predict, worst = OPEN[file.name](file), 0.0
    for rows, positions in BATCHES:
        features = draw_features(inputs, rows=rows, positions=positions)
        with torch.no_grad():
            wanted = [output.numpy() for output in model(features)]
        for name, got, want in zip(OUTPUTS, predict(features), wanted, strict=True):
            worst = max(worst, float(np.abs(got - want).max()))
            if not np.allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE):
                raise ValueError(
                    f"{file.name} gives other {name} than the heads (off by {worst:.1e}, at most {TOLERANCE:.0e} is "
                    "wanted), so nothing was written; try other versions of torch and onnxruntime"
                )
    return worst


def draw_features(inputs: Sequence[FeatureInput], *, rows: int, positions: int) -> Features:
    """Random features of some posts; of every four, one lacks its images, one its texts and one both."""
    draw = torch.Generator().manual_seed(rows)
    features: Features = {}
    for one in inputs:
        length = one.length or positions
        features[one.name] = _draw_vectors(one.spec, (rows, length, one.spec.width), draw)
        lengths = torch.randint(1, length + 1, (rows, 1), generator=draw) if one.length is None else length
        mask = torch.arange(length).expand(rows, -1) < lengths
        lacking = _LACKING["post" if one.spec.reads == "post" else one.spec.modality]
        missing = torch.isin(torch.arange(rows) % 4, torch.tensor(lacking))
        features.setdefault(one.mask, mask & ~missing[:, None])
    return features


_LACKING: dict[Reads, tuple[int, ...]] = {"image": (1, 3), "text": (2, 3), "post": (1, 2, 3)}  # rows of every four


def _draw_vectors(spec: EncoderSpec, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    if not spec.raw:
        return torch.randn(shape, generator=draw)
    preprocess: dict[str, Any] = json.loads(spec.preprocess)
    return torch.randint(0, preprocess.get("vocabulary", 256), shape, generator=draw).float()
