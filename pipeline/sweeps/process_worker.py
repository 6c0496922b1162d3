"""A process of this machine that trains chunks of a sweep's heads, and keeps them from rung to rung."""

from __future__ import annotations

import gc
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ..data.split import Fold
from ..training.fold_inputs import LatestInputs
from ..training.jobs import Experiment, HeadJob
from .chunk import Runner, Said, regrouped
from .shared_memory import read_shared

Name = tuple[int, int, int]  # of a head: its trial, fold and member


@dataclass(frozen=True)
class Order:
    """What a worker shall do: train what it holds of the wanted trials, and these new chunks, to a rung.

    Each new chunk is given by the file of its table, its folds and its heads. `anew`: what the worker held is over.
    """

    rung: int
    wanted: frozenset[int]
    anew: bool
    chunks: list[tuple[Path, Sequence[Fold], list[tuple[int, Experiment, HeadJob]]]]


def serve(pipe: Connection) -> None:
    """What a worker process does: orders come, findings go, until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that gives the orders ends this one
    torch.set_num_threads(1)
    gc.freeze()  # what is loaded by now stays: a hundredth of the time went into looking for garbage in it
    tables: dict[Path, LatestInputs] = {}
    runners: dict[Path, list[Runner]] = {}
    try:
        while True:
            order: Order = pipe.recv()
            try:
                for found in _train(order, tables, runners):
                    pipe.send(found)
            except Exception as error:
                error.add_note(f"raised in a process of its own:\n{traceback.format_exc()}")  # `--debug` shows it
                pipe.send(error)
            else:
                pipe.send(None)
    except (EOFError, OSError):
        return


def _train(
    order: Order, tables: dict[Path, LatestInputs], runners: dict[Path, list[Runner]]
) -> Iterator[list[tuple[Name, Said | ValueError]]]:
    if order.anew:
        runners.clear()
    for path, folds, members in order.chunks:
        if path not in tables:
            tables[path] = LatestInputs(read_shared(path), "cpu")
        runners.setdefault(path, []).append(Runner(folds, members))
    for path, mine in runners.items():
        for runner in mine:
            runner.keep(order.wanted)
        mine[:] = regrouped(mine, order.wanted, device="cpu", threads=1)
        for runner in mine:
            said = runner.reach(order.rung, order.wanted, tables[path])
            names = [(index, job.fold, job.member) for index, _, job in runner.members]
            yield [(names[at], one) for at, one in said]
