"""A trial of a stored sweep, to be trained again by `msa train-head --from`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...features.store.json_files import check_format
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from .leaderboard import FORMAT
from .space import apply_point, encoders_of


class Replay(NamedTuple):
    """A sweep's trial, to be trained alone on the split that the winner was tested on."""

    data_config: DataConfig
    head: HeadConfig
    training: TrainConfig


def read_replay(text: str) -> Replay:
    """The settings of `FOLDER#best`, or of `FOLDER#TRIAL`, a trial's number in the leaderboard of the first fold.

    Raises ValueError where there is no finished sweep of this format, or no such trial.
    """
    folder, _, which = text.partition("#")
    try:
        stored = json.loads((Path(folder) / "sweep.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--from wants a sweep's folder, as runs/sweep#best; got {text!r} ({error})") from error
    try:
        check_format(stored.get("format"), FORMAT)
    except ValueError as error:
        raise ValueError(f"{folder}/sweep.json: {error}; run the sweep again") from error
    if not stored.get("finished"):
        raise ValueError(f"{folder} is a sweep that is not finished; call msa sweep again to go on")
    data, outer = stored["data"], stored["search"]["outer"]
    image, text_encoders = tuple(data["image"]), tuple(data["text"])
    folds = None if outer == 1 else outer
    again = {"hold_out": data["hold_out"], "near_duplicates": data.get("near_duplicates", False)}
    data_config = DataConfig(Path(stored["cache"]), image, text_encoders, folds, **again)
    if which in ("", "best"):
        config = stored["best"]["config"]
        image, text_encoders = tuple(config["image"]), tuple(config["text"])
        head, training = _head(config["head"]), TrainConfig(**config["training"])
    else:
        found = [line for line in stored["leaderboard"] if str(line["trial"]) == which and line["outer_fold"] == 0]
        if not found:
            raise ValueError(
                f"{folder} has no trial {which!r}; give #best, or one of the {stored['trials']} in its leaderboard"
            )
        point = found[0]["point"]
        head, training = apply_point(point, _head(stored["head"]), TrainConfig(**stored["training"]))
        image, text_encoders = encoders_of(point, data_config)
    return Replay(replace(data_config, image=image, text=text_encoders), head, training)


def _head(stored: dict[str, Any]) -> HeadConfig:
    return HeadConfig(**stored | {"patches": tuple(stored["patches"]) if stored["patches"] else None})
