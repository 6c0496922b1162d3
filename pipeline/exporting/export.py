"""`msa export`: writes a run as ONNX, as a torch program, or as a folder for a hub."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...features.progress import stage
from ...features.store.durable import new_folder, write_atomic
from ...features.store.json_files import write_json
from ...features.store.temporary_folders import TemporaryFolder
from ..runs.destination import check_writable
from ..runs.folders import CONFIG, find_run
from ..runs.run_config import describe_specs
from ..runs.runs import SHARED_WEIGHTS, WEIGHTS, Run, load_run
from ..runs.stored_run import StoredRun, read_run
from .card import loader_source, write_card
from .graph import ExportedModel, FeatureInput, feature_inputs
from .programs import ONNX, TORCH, export_program, largest_difference, save_onnx, save_torch

DESCRIPTION, CARD, LOADER = "model.json", "README.md", "exported_model.py"
PROGRAMS = {"onnx": ONNX, "torch": TORCH, "hub": ONNX}  # the program in the folder of each kind
SHARED = (  # of a run's configuration; no paths, and nothing of single posts
    *("head", "training", "inputs", "token_projection", "dims", "classes", "folds", "temperatures", "encoders"),
    "views",
)


@dataclass(frozen=True)
class Exported:
    """The folders that were written by kind, and the largest difference of each program from the heads, by file."""

    folders: Mapping[str, Path]
    differences: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        folders = {kind: str(folder) for kind, folder in self.folders.items()}
        return {"folders": folders, "largest_difference": dict(self.differences)}

    def to_text(self) -> str:
        """A line per folder."""
        return "\n".join(
            f"written: {folder} ({name} differs from the heads by at most {self.differences[name]:.1e})"
            for folder, name in ((folder, PROGRAMS[kind]) for kind, folder in self.folders.items())
        )


def export_run(
    run_folder: Path, *, onnx: Path | None = None, torch: Path | None = None, hub: Path | None = None
) -> Exported:
    """Write each folder that is given, whole or not at all: a program, its description, a loader and a model card.

    `hub` also gets the heads and the configuration, so that msa opens it as a run. Programs are compared with the heads
    on drawn features before they are kept. Raises ValueError where none is given, a folder is taken, a head cannot be
    exported, or a program gives other numbers.
    """
    wanted = {"onnx": onnx, "torch": torch, "hub": hub}
    folders = {kind: folder for kind, folder in wanted.items() if folder is not None}
    _check(folders)
    if {"onnx", "hub"} & set(folders):
        import onnxscript  # noqa: F401, I001 (to fail before the work where one of the extra's packages is missing)
        import onnxruntime  # noqa: F401
    run, stored = load_run(run_folder), read_run(find_run(run_folder))
    inputs = feature_inputs(run)
    with TemporaryFolder() as temp:
        programs = [Path(temp) / name for name in dict.fromkeys(PROGRAMS[kind] for kind in folders)]
        differences = _write_programs(ExportedModel(run), inputs, programs)
        for kind, folder in folders.items():
            with new_folder(folder) as made:
                shutil.copyfile(Path(temp) / PROGRAMS[kind], made / PROGRAMS[kind])
                if kind == "hub":
                    _write_run(stored, made)
                _write_notes(made, stored, run, inputs)
    return Exported(folders, differences)


def _write_programs(model: ExportedModel, inputs: Sequence[FeatureInput], files: Sequence[Path]) -> dict[str, float]:
    """Write the module as each of these files; return how far each is from it, by name."""
    stage("tracing the heads")
    program, differences = export_program(model, inputs), {}
    for file in files:
        stage(f"writing {file.name}")
        if file.name == TORCH:
            save_torch(program, file)
        else:
            save_onnx(program, inputs, file)
        differences[file.name] = largest_difference(model, inputs, file)
    return differences


def _check(folders: Mapping[str, Path]) -> None:
    if not folders:
        raise ValueError("no folder to write; give --onnx FOLDER, --torch FOLDER or --hub FOLDER")
    for kind, folder in folders.items():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"--{kind} {folder} exists already; delete it, or name another folder")
        check_writable(folder, f"--{kind}")
    if len({folder.resolve() for folder in folders.values()}) < len(folders):
        raise ValueError(f"--{' and --'.join(folders)} name one folder; give each its own")


def _write_run(stored: StoredRun, folder: Path) -> None:
    """The heads and what they are, without paths of this machine and without the posts of the split."""
    made = {name: stored.made[name] for name in ("version", "torch", "date", "data") if name in stored.made}
    config = {name: stored.config[name] for name in SHARED if name in stored.config}
    write_json(folder / CONFIG, config | {"cache": "cache", "made": made})
    write_atomic(folder / SHARED_WEIGHTS, (stored.path / WEIGHTS).read_bytes())


def _write_notes(folder: Path, stored: StoredRun, run: Run, inputs: Sequence[FeatureInput]) -> None:
    """What loads the program, what it reads and gives, and the card."""
    write_json(folder / DESCRIPTION, describe_model(run, inputs))
    write_atomic(folder / LOADER, loader_source().encode())
    files = [path.name for path in folder.iterdir()]
    write_atomic(folder / CARD, write_card(stored, run, inputs, files).encode())


def describe_model(run: Run, inputs: Sequence[FeatureInput]) -> dict[str, Any]:
    """What the loader needs to know of a model, and the specs of the encoders by slug."""
    return {
        "classes": list(run.classes),
        "calibrated": bool(run.temperatures),
        "fusion": run.config.label,
        "inputs": [_describe(one, run) for one in inputs],
        "encoders": {spec.slug: describe_specs([spec])[0] for spec in run.encoders},
    }


def _describe(one: FeatureInput, run: Run) -> dict[str, Any]:
    patches = run.config.patches if one.spec.modality == "image" and one.length is None else None
    return {
        **{"name": one.name, "mask": one.mask, "view_of": one.view_of, "encoder": one.spec.slug},
        **{"width": one.spec.width, "length": one.length, "low": one.low, "high": one.high, "patches": patches},
    }
