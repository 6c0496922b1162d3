"""Trainings that were cut off: what is kept of them every few epochs, where, and how it is found again."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...features.store.durable import write_atomic


@dataclass(frozen=True)
class Checkpointer:
    """Keeps the state of one training in one file, `every` epochs; the file appears whole or not at all."""

    path: Path
    every: int

    def save(self, epoch: int, state: Callable[[], dict[str, Any]], *, last: bool) -> None:
        """Keep the state if this epoch's turn has come, or if it is the training's last."""
        if last or epoch % self.every == 0:
            buffer = io.BytesIO()
            torch.save(state(), buffer)
            write_atomic(self.path, buffer.getvalue())

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """What was kept; None where nothing was. No code in the file is run. ValueError where it is damaged."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise ValueError(f"{self.path}: a damaged checkpoint ({error}); delete it and train again") from error
        return state


class CheckpointDir:
    """The folder of one command's unfinished trainings, named by all that decides their outcome.

    The same command finds it again; another one has another folder. `clear` it when the results are stored.
    """

    def __init__(self, runs: Path, every: int, identity: object) -> None:
        text = json.dumps(identity, sort_keys=True, default=str)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder, self.every = runs / ".unfinished" / name, every

    def checkpointer(self, fold: int, member: int) -> Checkpointer:
        """What keeps the training of one head of one fold."""
        return Checkpointer(self.folder / f"fold{fold}-{member}.pt", self.every)

    def clear(self) -> None:
        """Drop what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)
