"""The command that writes a run for other programs: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from .console import show
from .declare import HEADS, command
from .options import Json, Run, Runs, named_run

app = typer.Typer()


@command(app, panel=HEADS, example="msa export runs/gated --onnx exported")
def export(
    run: Run,
    onnx: Annotated[Path | None, Option(help="Folder for an ONNX model, for onnxruntime.")] = None,
    torch: Annotated[Path | None, Option(help="Folder for a program of torch.export.")] = None,
    hub: Annotated[Path | None, Option(help="Folder for a model hub: ONNX, safetensors, configuration.")] = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Write the heads of a run for other programs.

    Each folder has a model card, the specs of the encoders, and a loader that needs numpy and onnxruntime (or torch)
    alone. The model averages the folds as msa predict does: thresholds and temperatures are inside.
    """
    from ..exporting.export import export_run

    show(export_run(named_run(run, runs), onnx=onnx, torch=torch, hub=hub), as_json)
