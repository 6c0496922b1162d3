"""The crash harness: extracts that are killed, refused by the disk or cut off from power, and what they leave."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from msa.features.store.errors import read_errors
from msa.features.store.header import StoreError
from msa.features.store.parts import read_part
from msa.features.store.store import Store, stored_specs
from msa.features.store.writer import Writer

WRONG = ("lost", "doubled", "misaligned", "misreported", "refused", "failed", "unexplained", "littered")

KILLED = -signal.SIGKILL
Key = tuple[str, bytes]  # encoder and content key
Found = dict[Key, tuple[bytes, bytes]]  # the bytes of the pooled vector and of the tokens


def _without_notes(output: str) -> str:
    """What a command printed, without the notes of the content index: losing it costs time alone."""
    return "".join(line for line in output.splitlines(keepends=True) if "content-index.sqlite3 " not in line)


def load(path: Path) -> ModuleType:
    """A Python file as a module: neither tests nor benchmarks are packages."""
    found = spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = sys.modules[path.stem] = module_from_spec(found)
    found.loader.exec_module(module)
    return module


fork_server = load(Path(__file__).with_name("fork_server.py"))
power = load(Path(__file__).with_name("power.py"))


def rows(cache: Path) -> Iterator[tuple[Key, tuple[bytes, bytes]]]:
    """Every row of every part, copies included: each part is verified first. Raises StoreError."""
    for spec in stored_specs(cache):
        store = Store(cache / spec.slug, spec)
        store.verify()
        for part in store.parts:
            for _, block in read_part(part, np.ones(len(part), bool), tokens=True):
                assert block.tokens is not None
                assert block.offsets is not None
                for at, key in enumerate(block.keys):
                    tokens = block.tokens[block.offsets[at] : block.offsets[at + 1]]
                    yield (spec.name, bytes(key)), (block.pooled[at].tobytes(), tokens.tobytes())


def complaints(cache: Path) -> dict[str, list[Any]]:
    """The records of `errors.jsonl`, by encoder."""
    return {spec.name: read_errors(cache / spec.slug) for spec in stored_specs(cache)}


def may_mount(folder: Path) -> bool:
    """Whether this process may put a disk of any size over a folder."""
    if sys.platform != "linux" or shutil.which("mount") is None or os.geteuid() != 0:
        return False
    if subprocess.run(["mount", "-t", "tmpfs", "msa", folder], capture_output=True).returncode:
        return False
    subprocess.run(["umount", folder], check=True)
    return True


def unseen_flips(folder: Path, size: int, number: int, rng: random.Random) -> int:
    """Flip one bit at a time anywhere in a part of `size` rows; how many would go unnoticed, by part."""
    (spec,) = fork_server.Fake("text", 0).specs
    store = Store.open(folder, spec)
    writer = Writer(store, tokens=True)
    for row in range(size):
        tokens = np.full((row % 5, spec.width), row, np.float32)
        writer.add(f"{row:032x}", np.full(spec.width, row, np.float32), tokens)
    writer.flush()
    (path,) = store.folder.glob("part-*.h5")
    whole, unseen = path.read_bytes(), 0
    for _ in range(number):
        at = rng.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        try:
            Store.open(folder, spec).verify()  # as every reader of features begins
            unseen += 1
        except StoreError as error:
            unseen += path.name not in str(error)
    path.write_bytes(whole)
    Store.open(folder, spec).verify()
    return unseen


class Harness:
    """An uninterrupted run, and a count of all that interrupted ones did and of every way in which they differed."""

    def __init__(self, server: Any, folder: Path, **settings: Any) -> None:
        """`folder` takes posts and caches; `settings` go to every child."""
        self.server = server
        self.folder = folder
        self.settings = {"folder": folder / "posts", "count": 40, **settings}
        fork_server.posts(folder / "posts", self.settings["count"])
        self.count: Counter[str] = Counter()
        cache = folder / "whole" / "cache"
        self.start(cache)
        self.seconds = min(self._time(folder / f"again-{number}" / "cache") for number in range(3))
        assert not self.wrong
        self.expected: Found = dict(rows(cache))
        self.complaints = complaints(cache)
        assert all(self.complaints.values())

    def _time(self, cache: Path) -> float:
        started = time.perf_counter()
        self.start(cache)
        return time.perf_counter() - started

    @property
    def wrong(self) -> dict[str, int]:
        """What must be empty."""
        return {name: self.count[name] for name in WRONG if self.count[name]}

    def kills(self, number: int, rng: random.Random) -> None:
        """SIGKILL at any moment from birth to end; resume, kill again, until a run gets through."""
        wanted = self.count["kills"] + number
        while self.count["kills"] < wanted:
            cache, kept = self.begin(), Found()
            while self.start(cache, (0, KILLED), kill=rng.uniform(0, self.seconds)).status == KILLED:
                kept = self.look(cache, kept)
                self.count.update(["kills", f"kills with {self._stage(cache, kept)}"])
            self.compare(cache)

    def _stage(self, cache: Path, kept: Collection[Key]) -> str:
        if len(kept) < len(self.expected):
            return "some rows written" if kept else "no row written"
        merged = len(list(cache.rglob("part-*.h5"))) == len(self.complaints)
        return "all rows merged" if merged else "all rows written"

    def power_losses(self, number: int, rng: random.Random) -> None:
        """Cut a recorded run anywhere, look, resume; the resumed run is recorded too and may be cut next."""
        fresh = steps, kept = self._recorded(self.begin()), set[Any]()
        for _ in range(number):
            cache = self.begin()
            promised = power.lose_power(steps, rng.randrange(len(steps)), cache.parent, rng)
            found = set(self.look(cache, kept | promised))
            self.count["power losses"] += 1
            resumed = self._recorded(cache)
            self.compare(cache)
            steps, kept = rng.choice((fresh, (resumed, found)))

    def _recorded(self, cache: Path) -> Any:
        self.start(cache, journal=self.folder / "journal")
        return pickle.loads((self.folder / "journal").read_bytes())

    def operations(self) -> int:
        """How many times a run from half a cache to a whole one opens, writes, fsyncs, renames or removes."""
        (ended,) = self.server.run({**self.settings, "cache": self.begin(half=True), "fault": (0, 0, False)})
        return int(ended.output)

    def fault(self, at: int, code: int, *, lasting: bool) -> None:
        """Operation `at` fails with an errno, and if lasting all after it; then resume on a sound disk."""
        cache = self.begin(half=True)
        self._refused(cache, self.look(cache, ()), self.start(cache, (0, 2), fault=(at, code, lasting)))

    def small_files(self, limit: int) -> None:
        """No file may exceed `limit` bytes, HDF5's own writes included; then resume without a limit."""
        cache = self.begin(half=True)
        self._refused(cache, self.look(cache, ()), self.start(cache, (0, 2), limit=limit))

    def small_disk(self, kilobytes: int) -> None:
        """The cache on a disk of this size; then resume on a larger one. Needs the right to mount."""
        cache = self.begin()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "msa", cache.parent], check=True)
        try:
            ended = self.start(cache, (0, 2))
            subprocess.run(["mount", "-o", "remount,size=64m", cache.parent], check=True)
            self._refused(cache, (), ended)
        finally:
            subprocess.run(["umount", cache.parent], check=True)

    def rivals(self, number: int, rng: random.Random, *, kill: bool = False) -> None:
        """Extracts on one cache at the same time, one of them perhaps killed; the others must get through."""
        cache = self.begin()
        children = [{**self.settings, "cache": cache, "delay": rng.uniform(0, self.seconds)} for _ in range(number)]
        if kill:
            children[0]["kill"] = rng.uniform(0, 2 * self.seconds)
        for ended in self.server.run(*children)[kill:]:
            self._tell(ended, (0,))
        self.count["rivals"] += number
        self.compare(cache)

    def begin(self, *, half: bool = False) -> Path:
        """A cache to try, empty or with the rows of half the posts."""
        shutil.rmtree(self.folder / "trial", ignore_errors=True)
        cache = self.folder / "trial" / "cache"
        cache.parent.mkdir()
        if half:
            if not (self.folder / "half").exists():
                self.start(self.folder / "half", count=self.settings["count"] // 2)
            shutil.copytree(self.folder / "half", cache)
        return cache

    def start(self, cache: Path, allowed: Collection[int] = (0,), **settings: Any) -> Any:
        """One child on one cache; any other end than the allowed ones is a failure."""
        (ended,) = self.server.run({**self.settings, "cache": cache, **settings})
        self._tell(ended, allowed)
        return ended

    def _tell(self, ended: Any, allowed: Collection[int]) -> None:
        if ended.status not in allowed or (_without_notes(ended.output) and ended.status != 2):
            self._count("failed", f"exit {ended.status}: {ended.output[-1000:]}")

    def _count(self, wrong: str, what: object) -> None:
        self.count[wrong] += 1
        print(f"{wrong}: {what}", file=sys.stderr)

    def _refused(self, cache: Path, kept: Collection[Key], ended: Any) -> None:
        """After an error: one line that names the place, no temporary file, no row lost, and a rerun that ends well."""
        self.count["refusals" if ended.status else "no refusals"] += 1
        line = _without_notes(ended.output).removesuffix("\n")
        if ended.status and (not line.startswith("msa: ") or "\n" in line or str(cache) not in line):
            self._count("unexplained", ended.output)
        self.count["littered"] += len(list(cache.rglob(".*.tmp")))
        self.look(cache, kept)
        self.start(cache)
        self.compare(cache)

    def look(self, cache: Path, kept: Collection[Key]) -> Found:
        """What an interrupted run left: all that was kept must be there, and each row as it should be."""
        return self._look(cache, kept)[0]

    def compare(self, cache: Path) -> None:
        """A run that got through must have left what the uninterrupted one left: each row once, each bad item named."""
        found, copies, output = self._look(cache, self.expected)
        self.count["doubled"] += copies - len(found)
        self.count["misreported"] += output != self.complaints

    def _look(self, cache: Path, kept: Collection[Key]) -> tuple[Found, int, dict[str, list[Any]]]:
        found: Found = {}
        copies, output = 0, {}
        try:
            for key, value in rows(cache):
                self.count["misaligned"] += value != self.expected.get(key)
                found[key] = value
                copies += 1
            output = complaints(cache)
        except ValueError as error:
            self._count("refused", error)
        self.count["lost"] += len(set(kept) - found.keys())
        return found, copies, output
