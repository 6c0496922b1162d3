"""Event files of TensorBoard: a curve per fold while heads train, settings and scores as hparams at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ...features.messages import notify
from ..runs.destination import free_name
from .events import Event, Point, Result

FOLDER = "tensorboard"  # in the folder of runs
SECONDS = 2  # until what was logged can be seen


class TensorBoardLogger:
    """Writes to `RUNS/tensorboard/NAME/SERIES`; a tag per metric, as `loss/train`."""

    def __init__(self, runs: Path, name: str) -> None:
        self.folder = free_name(runs / FOLDER, name)
        self.writers: dict[str, SummaryWriter] = {}
        notify(f"TensorBoard: {self.where}")

    @property
    def where(self) -> str:
        return f"tensorboard --logdir {self.folder.parent}"

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Point):
                writer = self._writer(event.series)
                for name, value in event.values.items():
                    part, _, metric = name.partition("_")
                    writer.add_scalar(f"{metric}/{part}" if metric else name, value, event.step)
            elif isinstance(event, Result):
                settings = {name: "none" if value is None else value for name, value in event.settings.items()}
                place = event.name or "."
                self._writer("").add_hparams(settings, dict(event.metrics), run_name=place, global_step=0)

    def close(self, failed: bool) -> None:
        for writer in self.writers.values():
            writer.close()

    def _writer(self, series: str) -> SummaryWriter:
        if series not in self.writers:
            self.writers[series] = SummaryWriter(str(self.folder / series), flush_secs=SECONDS)
        return self.writers[series]
