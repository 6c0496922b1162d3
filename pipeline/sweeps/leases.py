"""Which process works on which batch of a study, kept in the study's own database, so that no two share one."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from sqlalchemy import Boolean, Column, Engine, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

HEARTBEAT_SECONDS = 5.0  # between two heartbeats
TIMEOUT_SECONDS = 60.0  # without a heartbeat, after which another process may take the batch
SAME_START_SECONDS = 5.0  # the start of a process is counted from that of the system, which a set clock moves
NO_OWNER = ""
POLL_SECONDS = 0.3  # between two looks for a free batch

_TABLE = Table(
    "msa_leases",
    MetaData(),
    Column("study", String(64), primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(200), nullable=False),
    Column("heartbeats", Integer, nullable=False),
    Column("done", Boolean, nullable=False),
)


class LeaseError(RuntimeError):
    """This process gave no heartbeat for so long that another one took its batch."""


class Leases:
    """The batches 0 … `count` - 1 of one study."""

    def __init__(self, engine: Engine, study: str, count: int) -> None:
        self.engine, self.study, self.count = engine, study, count
        self.owner = f"{_machine()} {os.getpid()} {psutil.Process().create_time():.2f} {secrets.token_hex(4)}"
        self.seen: dict[int, tuple[tuple[str, int], float]] = {}  # batch to its last heartbeat, and when it was new
        self.lost = threading.Event()
        _TABLE.metadata.create_all(engine)

    def claim(self) -> int | None:
        """A batch without an owner, or whose owner is dead; waits where all are being worked on. None: all done."""
        while True:
            with self.engine.connect() as connection:
                found = connection.execute(select(_TABLE).where(_TABLE.c.study == self.study)).mappings().all()
            taken = {row["batch"]: row for row in found}
            for batch in range(self.count):
                if batch not in taken and self._insert(batch):
                    return batch
            running = [row for row in taken.values() if not row["done"]]
            for row in running:
                batch, owner, heartbeats = row["batch"], row["owner"], row["heartbeats"]
                if self._is_dead(batch, owner, heartbeats) and self._change(
                    batch, owner, owner=self.owner, heartbeats=_TABLE.c.heartbeats + 1
                ):
                    return int(batch)
            if not running and len(taken) >= self.count:
                return None
            time.sleep(POLL_SECONDS)

    @contextmanager
    def holding(self, batch: int) -> Iterator[None]:
        """Give heartbeats inside. The batch is done when the block ends without an error, and free after one."""
        ended = threading.Event()

        def give_heartbeats() -> None:
            while not ended.wait(HEARTBEAT_SECONDS):
                with suppress(OperationalError):  # the database is locked for now
                    if not self._change(batch, self.owner, heartbeats=_TABLE.c.heartbeats + 1):
                        self.lost.set()

        thread = threading.Thread(target=give_heartbeats, daemon=True)
        thread.start()
        complete = False
        try:
            yield
            self.check()
            complete = True
        finally:
            ended.set()
            thread.join()
            self._change(batch, self.owner, **({"done": True} if complete else {"owner": NO_OWNER}))

    def check(self) -> None:
        """Raise LeaseError where another process has taken over what this one held."""
        if self.lost.is_set():
            raise LeaseError(
                f"no heartbeat for {TIMEOUT_SECONDS:g} s, and another process took over; start again to go on"
            )

    def _insert(self, batch: int) -> bool:
        values = {"study": self.study, "batch": batch, "owner": self.owner, "heartbeats": 0, "done": False}
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(_TABLE).values(values))
        except IntegrityError:  # another process was faster
            return False
        return True

    def _change(self, batch: int, held_by: str, **values: object) -> bool:
        """Change a batch, provided that this owner still has it."""
        mine = (_TABLE.c.study == self.study) & (_TABLE.c.batch == batch) & (_TABLE.c.owner == held_by)
        with self.engine.begin() as connection:
            return bool(connection.execute(update(_TABLE).where(mine).values(**values)).rowcount)

    def _is_dead(self, batch: int, owner: str, heartbeats: int) -> bool:
        """Whether the process is gone from this machine, or has given no heartbeat for long enough while we looked.

        Clocks of two machines are never compared.
        """
        if owner == NO_OWNER:
            return True
        machine, pid, started, _ = owner.rsplit(" ", 3)
        if machine == _machine():
            return not _alive(int(pid), float(started))
        sign, now = (owner, heartbeats), time.monotonic()
        if batch not in self.seen or self.seen[batch][0] != sign:
            self.seen[batch] = sign, now
        return now - self.seen[batch][1] > TIMEOUT_SECONDS


def _machine() -> str:
    """The machine and the container on it, within which a process number means one process."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{socket.gethostname()}{space}"


def _alive(pid: int, started: float) -> bool:
    """Whether the process that started then still runs; its number may be another one's by now."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < SAME_START_SECONDS
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True
