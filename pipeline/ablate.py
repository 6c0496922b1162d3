"""`msa ablate`: what each modality is worth, with proof that taking it away changed something."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..features.durable import write_atomic
from ..features.encoders import Modality
from ..features.samples import Corpus
from .evaluate import summarise
from .experiment import FoldDone, FoldResult, HeadConfig, train_folds
from .runs import free_name, to_csv
from .tables import mean_sd, table
from .train import TrainConfig
from .train_head import REPORTED, StageTwo, prepare

Inputs = Literal["both", "image", "text"]
UNCHANGED = 1e-6  # logits that differ by no more than this say that the input did not matter


@dataclass(frozen=True)
class AblationRow:
    """One line of the table: what the head saw, how it scored, and that minus the full head's score."""

    inputs: Inputs
    metrics: dict[str, dict[str, float]]
    difference: dict[str, float]


@dataclass(frozen=True)
class Ablation:
    """The table, and the rows that were refused because their logits equal the full head's, with the reason."""

    fusion: str
    rows: list[AblationRow]
    refused: dict[Inputs, str]
    path: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "fusion": self.fusion,
            "rows": [asdict(row) for row in self.rows],
            "refused": self.refused,
            "path": str(self.path),
            "seconds": self.seconds,
        }

    def to_text(self) -> str:
        """The table that the command prints."""
        header = [
            "inputs",
            *(f"{name.replace('_', ' ')}" for name in REPORTED),
            *(f"Δ {name.replace('_', ' ')}" for name in REPORTED),
        ]
        lines = [
            [
                row.inputs,
                *(mean_sd(row.metrics[name]) for name in REPORTED),
                *(f"{row.difference[name]:+.3f}" for name in REPORTED),
            ]
            for row in self.rows
        ]
        refusals = "".join(f"\nrefused: {name}: {reason}" for name, reason in self.refused.items())
        return f"{table(header, lines)}{refusals}\n\n{self.fusion}, {self.seconds:.1f} s; written to {self.path}"


def ablate(
    corpus: Corpus,
    stage: StageTwo,
    config: HeadConfig,
    training: TrainConfig,
    *,
    modality: Literal["image", "text", "all"] = "all",
    runs: Path = Path("runs"),
    done: FoldDone = lambda number, total: None,
) -> Ablation:
    """Train the full head, the head without the modality, and with it alone: same splits, same seeds.

    A modality is taken away by masking it, so that the head trains its learned stand-in. Both modalities must be
    cached. Rows whose logits do not differ from the full head's are refused.
    """
    started = time.perf_counter()
    if modality not in ("image", "text", "all"):
        raise ValueError(f"modality must be image, text or all; got {modality!r}")
    features, folds, device = prepare(corpus, stage, config, seed=training.seed)
    if features.image is None or features.text is None:
        raise ValueError("an ablation needs both modalities; give --image and --text")
    without: dict[Inputs, Modality | None] = {"both": None, "image": "text", "text": "image"}
    order: list[Inputs] = ["both", "image", "text"] if modality == "text" else ["both", "text", "image"]
    trained: dict[Inputs, list[FoldResult]] = {}
    for number, inputs in enumerate(order):

        def step(fold: int, total: int, before: int = number * len(folds)) -> None:
            done(before + fold, total * len(order))

        trained[inputs] = train_folds(
            features, folds, config, training, without=without[inputs], device=device, done=step
        )
    full = summarise([result.metrics for result in trained["both"]])
    rows: list[AblationRow] = []
    refused: dict[Inputs, str] = {}
    for inputs in order:
        if inputs != "both" and not changed(trained["both"], trained[inputs]):
            refused[inputs] = (
                f"hiding the {without[inputs]} changed no logits: the {config.fusion!r} head does not read it"
            )
            continue
        metrics = summarise([result.metrics for result in trained[inputs]])
        rows.append(AblationRow(inputs, metrics, {name: m["mean"] - full[name]["mean"] for name, m in metrics.items()}))
    path = free_name(runs, f"ablate-{config.fusion}")
    ablation = Ablation(config.fusion, rows, refused, path, round(time.perf_counter() - started, 2))
    settings = {"head": asdict(config), "training": asdict(training), "folds": stage.folds}
    write_atomic(path / "ablation.json", json.dumps(ablation.to_dict() | settings, indent=2).encode())
    lines = [
        [row.inputs, *(v for m in row.metrics.values() for v in m.values()), *row.difference.values()] for row in rows
    ]
    names = list(full)
    header = [
        "inputs",
        *(f"{n}_{part}" for n in names for part in ("mean", "std")),
        *(f"{n}_difference" for n in names),
    ]
    write_atomic(path / "ablation.csv", to_csv(header, lines).encode())
    return ablation


def changed(full: Sequence[FoldResult], other: Sequence[FoldResult]) -> bool:
    """Whether any logit of the scored rows differs between two runs over the same folds."""
    return any(float(np.abs(a.logits - b.logits).max()) > UNCHANGED for a, b in zip(full, other, strict=True))
