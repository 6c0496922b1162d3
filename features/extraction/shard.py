"""`msa extract --shard 2/8`: every eighth row from the second on, for processes that do not communicate."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..encoders.runtime import available_cores, pick_device
from ..posts.samples import Corpus

if TYPE_CHECKING:
    from .settings import ExtractSettings


@dataclass(frozen=True)
class Shard:
    """Part `number` (1 to `count`) of a corpus: its rows number - 1, number - 1 + count, …, counted from 0."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"--shard wants I/N with I from 1 to N, as 2/8 for the second of eight; got {self.number}/{self.count}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def take(self, corpus: Corpus) -> Corpus:
        """The same corpus with only the rows of this shard."""
        return replace(corpus, samples=corpus.samples[self.number - 1 :: self.count])


def read_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """`2/8`, or `auto` for the rank and world size that torchrun or Slurm gave this process. Raises ValueError."""
    if text == "auto":
        return _shard_of_rank(environment)
    form = re.fullmatch(r"(\d+)/(\d+)", text)
    if not form:
        raise ValueError(f"--shard wants I/N, as 2/8 for the second of eight, or auto; got {text!r}")
    return Shard(int(form[1]), int(form[2]))


def share_machine(settings: ExtractSettings, environment: Mapping[str, str] = os.environ) -> ExtractSettings:
    """Give each process that torchrun or srun started on one machine a GPU of its own, or its share of the cores.

    A device or a number that the user named stays; Slurm confines its tasks to their cores itself.
    """
    import torch

    local = _number(environment, "LOCAL_RANK", default=_number(environment, "SLURM_LOCALID", default=0))
    gpus = torch.cuda.device_count() if settings.device in ("auto", "cuda") else 0
    if gpus:
        return replace(settings, device=f"cuda:{local % gpus}")
    if pick_device(settings.device) == "cpu":
        cores = max(1, available_cores() // _number(environment, "LOCAL_WORLD_SIZE", default=1))
        return replace(settings, streams=settings.streams or cores, workers=settings.workers or cores)
    return settings


def _shard_of_rank(environment: Mapping[str, str]) -> Shard:
    """Rank and world size, counted over the tasks of a Slurm array and the processes of each task."""
    array = _array(environment) if "SLURM_ARRAY_TASK_ID" in environment else None
    process = None
    if "RANK" in environment:
        process = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    elif "SLURM_STEP_ID" in environment:  # without srun, a batch script has SLURM_PROCID 0 but runs alone
        process = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS")
    if array is None and process is None:
        raise ValueError(
            "--shard auto wants a process started by torchrun, srun or a Slurm array; got none of RANK, SLURM_STEP_ID "
            "and SLURM_ARRAY_TASK_ID in the environment; write I/N, as 2/8"
        )
    (task, tasks), (rank, world_size) = array or (0, 1), process or (0, 1)
    return Shard(task * world_size + rank + 1, tasks * world_size)


def _array(environment: Mapping[str, str]) -> tuple[int, int]:
    """Index from 0 and number of the tasks of a Slurm array; its ids must be evenly spaced to be counted."""
    name = "SLURM_ARRAY_TASK_"
    at, first, last, count = (_number(environment, name + end) for end in ("ID", "MIN", "MAX", "COUNT"))
    step = _number(environment, name + "STEP", default=1)
    if count > 1 and step == 1:  # Slurm gives no step for a list such as 1,3,5,7
        step = max(1, (last - first) // (count - 1))
    index, rest = divmod(at - first, step)
    if rest or (last - first) // step + 1 != count or not 0 <= index < count:
        raise ValueError(
            f"--shard auto wants a Slurm array of evenly spaced ids; got {count} ids, {first} to {last}, {at} among "
            "them; write I/N, as 2/8"
        )
    return index, count


def _number(environment: Mapping[str, str], name: str, *, default: int | None = None) -> int:
    given = environment.get(name, "" if default is None else str(default))
    if not given.isdecimal():
        raise ValueError(f"--shard auto wants a number in {name}; got {given!r}; write I/N, as 2/8")
    return int(given)
