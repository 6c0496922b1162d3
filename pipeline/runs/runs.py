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
from ...features.spec import EncoderSpec, Modality
from ...features.store.durable import new_folder, write_atomic
from ...features.store.json_files import read_json, write_json
from ...heads.base import Dims, Head
from ...heads.registry import build_head
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import reduction_names, towers_of
from ..data.split import describe_folds
from ..metrics.probabilities import softmax
from ..training.folds import FoldResult
from .checkpoint import load_heads, save_heads

NAME, REMEDY = "a run's configuration", "train again"


@dataclass(frozen=True)
class Run:
    """A stored run, ready to predict: the heads of all folds, fold after fold, and the token reductions of each fold.

    `views` are the image encoders of each augmented view that predictions are averaged over; none without averaging.
    """

    config: HeadConfig
    classes: tuple[str, ...]
    specs: dict[Modality, tuple[EncoderSpec, ...]]
    cache: Path
    heads: list[Head]
    reductions: list[dict[str, Tensor]]
    views: tuple[tuple[EncoderSpec, ...], ...] = ()

    @property
    def folds(self) -> list[tuple[list[Head], dict[str, Tensor]]]:
        """The heads of each fold, and the reductions that they share."""
        size = self.config.ensemble_size
        return [(self.heads[n * size : (n + 1) * size], reductions) for n, reductions in enumerate(self.reductions)]

    @property
    def encoders(self) -> list[EncoderSpec]:
        """Every encoder that its predictions need."""
        return [spec for side in (*self.specs.values(), *self.views) for spec in side]


def check_name(name: str) -> None:
    """Raise ValueError unless this can be the name of a folder in another one."""
    if not name.strip() or Path(name).name != name or name.startswith("."):
        raise ValueError(f"--name wants a plain file name, as gated-2; got {name!r}")


def free_name(folder: Path, name: str) -> Path:
    """Make and return `folder/name`, with -2, -3 … appended where that is taken: no run replaces another."""
    check_name(name)
    number, path = 1, folder / name
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
            path = folder / f"{name}-{number}"


def save_run(
    path: Path,
    *,
    table: CachedFeatures,
    results: Sequence[FoldResult],
    config: HeadConfig,
    training: TrainConfig,
    folds: int | None,
    cache: Path,
    metrics: Mapping[str, Any],
    report: str,
) -> None:
    """Write a run to `path`, an empty folder from `free_name`, all at once. `report` is HTML."""
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
            "folds": folds,
            "cache": str(cache.resolve()),
            "encoders": {modality: _described(specs) for modality, specs in table.specs.items()},
            "views": [_described(view.specs) for view in table.image.views] if table.image else [],
        }
        split = describe_folds(table.posts, [r.fold for r in results], folds=folds, seed=training.seed)
        for name, content in (("config", described), ("split", split), ("metrics", metrics)):
            write_json(temp / f"{name}.json", content)
        write_atomic(temp / "history.csv", history_csv(results).encode())
        write_atomic(temp / "predictions.csv", predictions_csv(table, results).encode())
        write_atomic(temp / "report.html", report.encode())
        extras = {
            f"fold{number}.{modality}.basis": basis
            for number, result in enumerate(results)
            for modality, basis in result.reductions.items()
        }
        save_heads(temp / "head.safetensors", [head for result in results for head in result.heads], extras)


def find_run(path: Path) -> Path:
    """The run folder itself, or the newest run of a folder of runs. ValueError where there is no run."""
    if (path / "config.json").is_file():
        return path
    inside = _whole_runs(path)
    if inside:
        return inside[-1]
    near = ", ".join(sorted(run.name for run in _whole_runs(path.parent))) or "none"
    raise ValueError(f"{path} is not a run folder; runs in {path.parent}: {near}")


def _whole_runs(folder: Path) -> list[Path]:
    """Run folders in a folder, oldest first; those still being written begin with a dot."""
    configs = [file for file in folder.glob("*/config.json") if not file.parent.name.startswith(".")]
    return [file.parent for file in sorted(configs, key=lambda file: file.stat().st_mtime_ns)]


def load_run(path: Path) -> Run:
    """Read a run (see `find_run`); ValueError where there is none, or it is damaged."""
    path = find_run(path)
    try:
        return _read_run(path)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path / 'config.json'}: not {NAME} ({error!r}); {REMEDY}") from error


def _read_run(path: Path) -> Run:
    stored = read_json(path / "config.json", NAME, REMEDY)
    head = stored["head"] | {"patches": tuple(stored["head"]["patches"]) if stored["head"]["patches"] else None}
    config = HeadConfig(**head)
    parts = {f"{modality}_parts": tuple(stored["dims"].get(f"{modality}_parts", ())) for modality in ("image", "text")}
    dims = Dims(**stored["dims"] | parts)

    specs: dict[Modality, tuple[EncoderSpec, ...]] = {
        modality: _specs(stored["encoders"][modality]) for modality in ("image", "text")
    }
    towers = towers_of(specs, tokens=config.tokens)

    def build(number: int) -> Head:
        kind = config.of_member(number % config.ensemble_size)
        return build_head(
            kind.fusion, dims, hidden=kind.hidden, dropout=kind.dropout, seed=0, towers=towers, **kind.options
        )

    heads, extras = load_heads(path / "head.safetensors", build)
    views = tuple(_specs(described) for described in stored["views"]) if config.average_views else ()
    names = [name for modality, side in specs.items() for name in reduction_names(modality, len(side))]
    reductions = [
        {name: extras[key] for name in names if (key := f"fold{fold}.{name}.basis") in extras}
        for fold in range(len(heads) // config.ensemble_size)
    ]
    return Run(config, tuple(stored["classes"]), specs, Path(stored["cache"]), heads, reductions, views)


def _described(specs: Sequence[EncoderSpec]) -> list[dict[str, Any]]:
    return [asdict(spec) | {"fingerprint": spec.fingerprint} for spec in specs]


def _specs(described: Sequence[Mapping[str, Any]]) -> tuple[EncoderSpec, ...]:
    return tuple(EncoderSpec(**{k: v for k, v in one.items() if k != "fingerprint"}) for one in described)


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


def predictions_csv(table: CachedFeatures, results: Sequence[FoldResult]) -> str:
    """One line per test row: id, repeat, fold, true label, predicted label, a probability per class."""
    lines: list[list[object]] = []
    for number, result in enumerate(results):
        for row, probabilities in zip(result.fold.test, softmax(result.logits), strict=True):
            best = table.classes[int(probabilities.argmax())]
            name, label = table.posts.ids[row], table.posts.labels[row]
            lines.append([name, result.fold.repeat, number, label, best, *rounded(probabilities)])
    own = ["id", "repeat", "fold", "label", "predicted"]
    return to_csv([*own, *class_columns(own, table.classes)], lines)


def rounded(probabilities: NDArray[np.float64]) -> list[float]:
    """Probabilities (K,) for a file: six decimals."""
    return [round(float(probability), 6) for probability in probabilities]
