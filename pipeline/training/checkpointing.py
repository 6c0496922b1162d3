"""Checkpoints of trainings: the state that is saved every few epochs, and where an interrupted training finds it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...features.store.durable import write_atomic

FORMAT = 1


@dataclass(frozen=True)
class Checkpointer:
    """Saves the state of one training to one file, every `every` epochs; the file appears whole or not at all."""

    path: Path
    every: int

    def save(self, epoch: int, state: dict[str, Any], *, last: bool) -> None:
        """Save the state if `every` divides this epoch, or if it is the training's last."""
        if last or epoch % self.every == 0:
            buffer = io.BytesIO()
            torch.save({"format": FORMAT, **state}, buffer)
            write_atomic(self.path, buffer.getvalue())

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The saved state, None where there is none. No code in the file is run.

        Raises ValueError where the file is damaged or of another version.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise ValueError(f"{self.path}: a damaged checkpoint ({error}); delete it and train again") from error
        if state.get("format") != FORMAT:
            found = f"format {state.get('format')!r}, wanted {FORMAT}"
            raise ValueError(f"{self.path}: a checkpoint of {found}; delete it and train again")
        return state


class CheckpointDir:
    """The folder of one command's checkpoints, named by everything that decides the results.

    The same command finds it again; another one has another folder. `clear` it when the results are stored.
    """

    def __init__(self, runs: Path, every: int, identity: object) -> None:
        text = json.dumps(identity, sort_keys=True, default=str)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder, self.every = runs / ".unfinished" / name, every

    def checkpointer(self, fold: int, member: int) -> Checkpointer:
        """The checkpointer of one head of one fold."""
        return Checkpointer(self.folder / f"fold{fold}-{member}.pt", self.every)

    def clear(self) -> None:
        """Delete the checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)
