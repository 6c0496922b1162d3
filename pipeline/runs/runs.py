"""Run folders: everything needed to evaluate a trained head and to use it again. They appear whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...features.csv_text import class_columns, to_csv
from ...features.messages import notify
from ...features.spec import MODALITIES, EncoderSpec, Modality
from ...features.store.durable import new_folder, write_atomic
from ...features.store.json_files import write_json
from ...features.store.stored_paths import stored_path
from ...heads.base import Dims, Head
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import reduction_names, towers_of
from ..data.split import describe_folds
from ..data.test_posts import read_test_sets
from ..metrics.probabilities import mean_probabilities
from ..training.ensemble_head import build_stored
from ..training.folds import FoldResult
from .batch_losses import batches_csv
from .checkpoint import load_heads, save_heads
from .folders import CONFIG, find_run
from .run_config import (
    REMEDY,
    check_widths,
    describe_specs,
    find_cache,
    read_classes,
    read_head,
    read_side,
    read_specs,
    read_temperatures,
    reading,
)

WEIGHTS = "head.safetensors"  # of the heads, in a run folder
SHARED_WEIGHTS = "model.safetensors"  # the same in a folder for a hub, by the name that hubs know


@dataclass(frozen=True)
class Run:
    """A stored run, ready to predict: the heads of all folds, fold after fold, and the token reductions of each fold.

    `views` are the image encoders of each augmented view that predictions are averaged over; none without averaging.
    `temperatures` divide the logits of each fold; there are none in runs of earlier versions. `test_sets` are the files
    of the posts that were set aside. `ordered` says that the classes are levels.
    """

    config: HeadConfig
    classes: tuple[str, ...]
    specs: dict[Modality, tuple[EncoderSpec, ...]]
    cache: Path
    heads: list[Head]
    reductions: list[dict[str, Tensor]]
    views: tuple[tuple[EncoderSpec, ...], ...] = ()
    temperatures: tuple[float, ...] = ()
    test_sets: tuple[str, ...] = ()
    ordered: bool = False

    @property
    def folds(self) -> list[tuple[list[Head], dict[str, Tensor]]]:
        """The heads of each fold, and the reductions that they share."""
        size = self.config.ensemble_size
        return [(self.heads[n * size : (n + 1) * size], reductions) for n, reductions in enumerate(self.reductions)]

    @property
    def encoders(self) -> list[EncoderSpec]:
        """Every encoder that its predictions need."""
        return [spec for side in (*self.specs.values(), *self.views) for spec in side]


def save_run(
    path: Path,
    *,
    table: CachedFeatures,
    results: Sequence[FoldResult],
    config: HeadConfig,
    training: TrainConfig,
    data_config: DataConfig,
    temperatures: Sequence[float],
    others: Mapping[str, Any],
    metrics: Mapping[str, Any],
    baselines: Mapping[str, Sequence[NDArray[np.int64]]],
    made: Mapping[str, Any],
) -> None:
    """Write a run to `path`, an empty folder from `free_name`, all at once.

    `temperatures` are those of the folds, `others` further settings that `read_settings` returns, `baselines`
    predictions (n,) of other systems for each fold's test rows; `made` is from `describe_made`.
    """
    with new_folder(path) as temp:
        head = results[0].heads[0]
        described = {
            "head": asdict(config) | {"options": dict(config.options)},
            "training": asdict(training),
            "inputs": "tokens" if config.tokens else "pooled",
            "token_projection": {
                modality: f"{basis.shape[0]} to {basis.shape[1]}, principal axes fitted on each fold's training rows"
                for modality, basis in results[0].reductions.items()
            },
            "dims": asdict(head.dims),
            "classes": list(table.classes),
            "folds": data_config.folds,
            "split": data_config.split,
            "test_sets": [one.path.name for one in read_test_sets(data_config.cache / "splits")],
            "others": dict(others),
            "made": dict(made),
            "temperatures": list(temperatures),
            "extract_seconds": table.seconds,
            "cache": stored_path(data_config.cache, path),
            "encoders": {modality: describe_specs(specs) for modality, specs in table.specs.items()},
            "views": [describe_specs(view.specs) for view in table.image.views] if table.image else [],
        }
        split = describe_folds(table.posts, [r.fold for r in results], folds=data_config.folds, seed=training.seed)
        for name, content in (("config", described), ("split", split), ("metrics", metrics)):
            write_json(temp / f"{name}.json", content)
        write_atomic(temp / "history.csv", history_csv(results).encode())
        write_atomic(temp / "batches.csv", batches_csv(results).encode())
        write_atomic(temp / "predictions.csv", predictions_csv(table, results, temperatures).encode())
        write_atomic(temp / "baselines.csv", baselines_csv(table, results, baselines).encode())
        extras = {
            f"fold{number}.{modality}.basis": basis
            for number, result in enumerate(results)
            for modality, basis in result.reductions.items()
        }
        save_heads(temp / WEIGHTS, [head for result in results for head in result.heads], extras)


def load_run(path: Path) -> Run:
    """Read a run (see `find_run`); ValueError where there is none, or it is damaged."""
    path = find_run(path)
    with reading(path) as stored:
        config = read_head(stored["head"])
        parts = {f"{name}_parts": tuple(stored["dims"].get(f"{name}_parts", ())) for name in MODALITIES}
        dims = Dims(**stored["dims"] | parts)
        specs = read_specs(stored["encoders"])
        check_widths(dims, specs)
        views = tuple(read_side(described) for described in stored["views"]) if config.average_views else ()
        classes, temperatures = read_classes(stored["classes"]), read_temperatures(stored.get("temperatures", ()))
        cache, test_sets = find_cache(path, stored["cache"], specs), tuple(map(str, stored.get("test_sets", ())))
        towers = towers_of(specs, tokens=config.tokens)
        ordered = bool(stored.get("split", {}).get("class_order"))

    def build(number: int) -> Head:
        with reading(path):
            return build_stored(config, number, dims, towers)

    shared = path / SHARED_WEIGHTS
    heads, extras = load_heads(shared if shared.is_file() else path / WEIGHTS, build)
    names = [name for modality, side in specs.items() for name in reduction_names(modality, len(side))]
    folds = len(heads) // config.ensemble_size
    reductions = [
        {name: extras[key] for name in names if (key := f"fold{fold}.{name}.basis") in extras} for fold in range(folds)
    ]
    if (
        dims.classes != len(classes)
        or folds * config.ensemble_size != len(heads)
        or len(temperatures) not in (0, folds)
    ):
        raise ValueError(
            f"{path / CONFIG}: {len(classes)} classes, {len(temperatures)} temperatures and ensembles of "
            f"{config.ensemble_size} do not fit the {len(heads)} heads of {dims.classes} classes beside it; {REMEDY}"
        )
    return Run(config, classes, specs, cache, heads, reductions, views, temperatures, test_sets, ordered)


def cache_of(run: Run, given: Path | None) -> Path:
    """The cache `given`, or the run's own. A test set of the run that it lacks is pointed out.

    Raises ValueError where neither is there.
    """
    if given is None and not run.cache.is_dir():
        raise ValueError(f"the run's cache {run.cache} is not there; add --cache FOLDER, where it is now")
    cache = given or run.cache
    lost = [name for name in run.test_sets if not (cache / "splits" / name).exists()]
    if lost:
        notify(f"{cache / 'splits'} lacks {', '.join(lost)}, which names the posts that were set aside from this run")
    return cache


def history_csv(results: Sequence[FoldResult]) -> str:
    """One line per fold, head and epoch: loss and metrics on training and validation rows, learning rate, seconds."""
    lines = [
        {"fold": number, "member": member, "epoch": record.epoch, "best": int(record.epoch == best)}
        | {f"train_{name}": value for name, value in record.train.items()}
        | {f"valid_{name}": value for name, value in record.valid.items()}
        | {"lr": record.lr, "seconds": round(record.seconds, 4)}
        for number, result in enumerate(results)
        for member, (history, best) in enumerate(zip(result.histories, result.best_epochs, strict=True))
        for record in history
    ]
    return to_csv(list(lines[0]), (line.values() for line in lines))


def predictions_csv(table: CachedFeatures, results: Sequence[FoldResult], temperatures: Sequence[float]) -> str:
    """One line per test row: id, repeat, fold, true label, predicted label, a calibrated probability per class."""
    lines: list[list[object]] = []
    for number, (result, temperature) in enumerate(zip(results, temperatures, strict=True)):
        calibrated = mean_probabilities([result.logits], [temperature])
        for row, probabilities in zip(result.fold.test, calibrated, strict=True):
            best = table.classes[int(probabilities.argmax())]
            name, label = table.posts.ids[row], table.posts.labels[row]
            lines.append([name, result.fold.repeat, number, label, best, *rounded(probabilities)])
    own = ["id", "repeat", "fold", "label", "predicted"]
    return to_csv([*own, *class_columns(own, table.classes)], lines)


def baselines_csv(
    table: CachedFeatures, results: Sequence[FoldResult], baselines: Mapping[str, Sequence[NDArray[np.int64]]]
) -> str:
    """One line per test row: id, repeat, fold, true label, and the predicted label of each baseline."""
    lines = [
        [table.posts.ids[row], result.fold.repeat, number, table.posts.labels[row], *(table.classes[n] for n in found)]
        for number, result in enumerate(results)
        for row, *found in zip(result.fold.test, *(one[number] for one in baselines.values()), strict=True)
    ]
    return to_csv(["id", "repeat", "fold", "label", *baselines], lines)


def rounded(probabilities: NDArray[np.float64]) -> list[float]:
    """Probabilities (K,) for a file: six decimals."""
    return [round(float(probability), 6) for probability in probabilities]
