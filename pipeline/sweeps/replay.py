"""What `msa train-head --from` trains again: a trial of a stored sweep, or a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...features.store.json_files import check_format, malformed, read_object
from ...features.store.stored_paths import read_path
from ..config.data_config import DataConfig, read_split
from ..config.train_config import TrainConfig
from ..runs.folders import find_run
from ..runs.run_config import Settings, read_head, read_settings
from .leaderboard import FORMAT
from .space import Point, apply_point, encoders_of

SWEEP, REMEDY = "a sweep of this msa", "run the sweep again under another --name"


def read_replay(text: str) -> Settings:
    """The settings of a run, `FOLDER`, or of a sweep's trial, `FOLDER#best` or `FOLDER#TRIAL`.

    TRIAL is a number in the leaderboard of the first fold; a sweep's folder alone is its best trial. A trial is to be
    trained alone on the split that the winner was tested on. Raises ValueError where there is no run, no finished sweep
    of this format, or no such trial.
    """
    folder, which = Path(text), ""
    if not folder.exists():
        name, _, which = text.rpartition("#")
        folder = Path(name or text)
    if (folder / "sweep.json").exists():
        return _read_trial(folder, which or "best")
    if which or not folder.is_dir():
        raise ValueError(f"--from wants a run, as runs/gated, or a sweep's trial, as 'runs/sweep#best'; got {text!r}")
    return read_settings(find_run(folder))


def read_sweep(path: Path) -> dict[str, Any]:
    """The stored description of a sweep. Raises ValueError for a damaged file, or one of another format."""
    stored = read_object(path, SWEEP, REMEDY, format=int)
    with malformed(path, SWEEP, REMEDY):
        check_format(stored["format"], FORMAT)
    return stored


def _read_trial(folder: Path, which: str) -> Settings:
    file = folder / "sweep.json"
    stored = read_sweep(file)
    if not stored.get("finished"):
        raise ValueError(f"{folder} is a sweep that is not finished; call msa sweep again to go on")
    with malformed(file, SWEEP, REMEDY):
        points = {str(line["trial"]): line["point"] for line in stored["leaderboard"] if line["outer_fold"] == 0}
    if which not in ("best", *points):
        raise ValueError(f"{folder} has no trial {which!r}; give #best, or one of the {len(points)} in its leaderboard")
    with malformed(file, SWEEP, REMEDY):
        return _settings(stored, folder, points.get(which))


def _settings(stored: dict[str, Any], folder: Path, point: Point | None) -> Settings:
    """The settings at a point of a sweep's space; None: those of its winner."""
    data, outer, cache = stored["data"], stored["search"]["outer"], read_path(stored["cache"], folder)
    data_config = DataConfig(
        cache if cache.is_dir() else Path("cache"),
        tuple(data["image"]),
        tuple(data["text"]),
        folds=None if outer == 1 else outer,
        **read_split(data),
    )
    if point is None:
        best = stored["best"]["config"]
        image, text = tuple(best["image"]), tuple(best["text"])
        head, training = read_head(best["head"]), TrainConfig(**best["training"])
    else:
        image, text = encoders_of(point, data_config)
        head, training = apply_point(point, read_head(stored["head"]), TrainConfig(**stored["training"]))
    return Settings(replace(data_config, image=image, text=text), head, training, {})
