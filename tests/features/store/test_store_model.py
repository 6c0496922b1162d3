"""Any sequence of writes, kills, merges, deletions, exports and imports leaves what a dictionary says is stored."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msa.features.cache.exporting import export_embeddings
from msa.features.cache.imported_arrays import read_arrays
from msa.features.cache.importing import import_embeddings
from msa.features.cache.maintenance import collect_garbage
from msa.features.posts.content import text_key
from msa.features.posts.samples import Corpus, Sample
from msa.features.spec import EncoderSpec
from msa.features.store import store as store_module
from msa.features.store.durable import STALE_SECONDS, Sink
from msa.features.store.header import StoreError
from msa.features.store.store import Store, stored_specs
from msa.features.store.writer import Writer

SPEC = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 3, "float16")
TEXTS = [f"post {number}" for number in range(6)]
KEYS = [text_key(text) for text in TEXTS]

numbers = st.integers(0, len(TEXTS) - 1)
batches = st.lists(numbers, min_size=1, max_size=4)
sizes = st.sampled_from([0, 4_000, 8_000, 16_000, math.inf])  # a part of these rows takes 2 to 4 kB
moments = st.integers(1, 12)  # of a write of one part, which makes 8 changes, or of a merge


class Killed(BaseException):
    """The process ends here: nothing of it goes on."""


def pooled(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=3).astype(np.float32)


def tokens(number: int) -> np.ndarray:
    return np.random.default_rng(number + 100).normal(size=(number % 4, 3)).astype(np.float16)


def corpus(chosen: list[int]) -> Corpus:
    return Corpus(Path("posts"), "table", [Sample(f"p{number}", None, TEXTS[number]) for number in chosen])


def stored(store: Store) -> dict[int, bool]:
    """The numbers of all rows and whether they have tokens; each row is compared with what was put."""
    found: dict[int, bool] = {}
    with_tokens = dict(zip(store.keys, store.find(store.keys, tokens=True).tolist(), strict=True))
    for wanted in (True, False):
        keys = [key for key in store.keys if with_tokens[key] == wanted]
        lengths = store.lengths(keys)
        for positions, block in store.read(keys, tokens=wanted):
            rows = zip(positions, block.keys, block.pooled, block.token_rows(), strict=True)
            for position, key, vector, words in rows:
                assert key.decode() == keys[position]
                number = KEYS.index(keys[position])
                assert number not in found
                np.testing.assert_array_equal(vector, pooled(number))
                if wanted:
                    np.testing.assert_array_equal(words, tokens(number))
                assert lengths[position] == (number % 4 if wanted else 0)
                found[number] = wanted
    assert len(found) == len(store)
    return found


@contextmanager
def failing(moment: int, error: Callable[[], BaseException], *, lasting: bool) -> Iterator[None]:
    """Raise at the change of a file with this number (from 1), ahead of it; if `lasting`, at all later ones too."""
    changes = count(1)

    def before(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*given: Any, **options: Any) -> Any:
            reads = change is Path.open and not {*(given[1] if len(given) > 1 else "r")} & set("w+")
            if not reads and not str(given[0]).endswith(".lock"):  # a dead process holds no lock
                number = next(changes)
                if number == moment or (lasting and number > moment):
                    raise error()
            return change(*given, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for owner, names in (
            (Path, ("open", "replace", "unlink", "touch", "rmdir")),
            (os, ("fsync",)),
            (Sink, ("check",)),
        ):
            for name in names:
                patch.setattr(owner, name, before(getattr(owner, name)))
        yield


class StoreModel(RuleBasedStateMachine):
    """`rows` has the number of each key that is stored, and whether with tokens; the values follow from the number."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.cache = self.root / "cache"
        self.rows: dict[int, bool] = {}
        self.waiting: set[int] = set()
        self.names = count()
        self.reopen(tokens=True)
        self.reader = Store(self.store.folder, SPEC)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    @rule(tokens=st.booleans())
    def reopen(self, tokens: bool) -> None:
        """Drop the writer, and what waits in it, and begin another run."""
        self.store = Store.open(self.cache, SPEC)
        self.writer = Writer(self.store, tokens=tokens, flush_seconds=math.inf)
        self.waiting.clear()

    @rule(tokens=st.booleans(), chosen=batches)
    def run(self, tokens: bool, chosen: list[int]) -> None:
        self.reopen(tokens)
        self.put(chosen, flush=True)

    @rule(chosen=batches, flush=st.booleans())
    def put(self, chosen: list[int], flush: bool) -> None:
        for number in chosen:
            words = tokens(number) if self.writer.tokens else None
            self.writer.add(KEYS[number], pooled(number), words, seconds=0.5)
            self.waiting.add(number)
        if flush:
            self.flush()

    @rule(number=numbers)
    def put_at_once(self, number: int) -> None:
        """A row of which the size, or the time since the last flush, makes it be written without being asked to."""
        self.writer.flush_seconds = 0.0
        self.put([number], flush=False)
        self.writer.flush_seconds = math.inf
        self._flushed()

    @rule()
    def flush(self) -> None:
        self.writer.flush()
        self._flushed()

    def _flushed(self) -> None:
        for number in self.waiting:
            self.rows[number] = self.rows.get(number, False) or self.writer.tokens
        self.waiting.clear()

    @precondition(lambda self: self.waiting)
    @rule(moment=moments)
    def flush_on_a_full_disk(self, moment: int) -> None:
        """One change is refused: what waits still does, or is written."""
        waiting, code = set(self.waiting), errno.ENOSPC
        try:
            with failing(moment, lambda: OSError(code, os.strerror(code)), lasting=False):
                self.flush()
        except OSError:
            self._settle_flush(waiting)

    @precondition(lambda self: self.waiting)
    @rule(moment=moments, tokens=st.booleans())
    def kill_a_flush(self, moment: int, tokens: bool) -> None:
        waiting = set(self.waiting)
        try:
            with failing(moment, Killed, lasting=True):
                self.flush()
        except Killed:
            self._settle_flush(waiting)
        self.reopen(tokens)

    def _settle_flush(self, waiting: set[int]) -> None:
        """Either all rows of the flush are stored, or none of them is."""
        after = {number: self.rows.get(number, False) or self.writer.tokens for number in waiting}
        found = stored(Store(self.store.folder, SPEC))
        assert found in (self.rows, self.rows | after)
        self.rows = found

    @rule(below=sizes, limit=sizes)
    def merge(self, below: float, limit: float) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module, "MERGE_LIMIT", limit)
            self.store.merge(below=below)
        if below == limit == math.inf:
            assert len(self.store.parts) == len(set(self.rows.values()))

    @rule(size=sizes)
    def compact(self, size: float) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module, "FLUSH_BYTES", size)
            self.store.compact()
        assert sum(map(len, self.store.parts)) == len(self.rows)

    @rule(moment=moments)
    def kill_a_merge(self, moment: int) -> None:
        try:
            with failing(moment, Killed, lasting=True):
                self.store.merge()
        except Killed:
            self.reopen(self.writer.tokens)

    @rule(kept=st.sets(numbers, min_size=1))
    def delete(self, kept: set[int]) -> None:
        (report,) = collect_garbage(self.cache, [corpus(sorted(kept))], yes=True).entries
        assert report["kept"] == len(self.rows.keys() & kept)
        self.rows = {number: words for number, words in self.rows.items() if number in kept}
        if report["removed"]:
            assert not self.rows
            self.reopen(self.writer.tokens)

    @rule(kept=st.sets(numbers, min_size=1), moment=moments)
    def kill_a_deletion(self, kept: set[int], moment: int) -> None:
        """What is used stays as it is; the rest is as it was, gone, or without its tokens."""
        try:
            with failing(moment, Killed, lasting=True):
                collect_garbage(self.cache, [corpus(sorted(kept))], yes=True)
        except Killed:
            pass
        self.reopen(self.writer.tokens)
        found = stored(self.store)
        assert found.items() >= {(number, words) for number, words in self.rows.items() if number in kept}
        assert all(self.rows[number] >= words for number, words in found.items())
        self.rows = found

    @rule()
    def wait_an_hour(self) -> None:
        """What killed runs left is removed by the next merge."""
        for temp in self.store.folder.glob(".*.tmp"):
            os.utime(temp, (time.time() - STALE_SECONDS - 1,) * 2)
        self.store.merge(below=0)
        assert not [*self.store.folder.glob(".*.tmp")]

    @precondition(lambda self: self.rows)
    @rule(tokens=st.booleans())
    def export_and_import(self, tokens: bool) -> None:
        """The rows come back from files in another store, under another name."""
        out, there = self.root / f"out-{next(self.names)}", self.root / f"other-{next(self.names)}"
        posts = corpus(sorted(self.rows))
        words = export_embeddings(self.cache, SPEC.name, out, posts, tokens=tokens).tokens is not None
        assert words == (tokens and all(self.rows.values()))
        files = (out / "tokens.npy", out / "offsets.npy") if words else ()
        arrays = read_arrays(out / "pooled.npy", out / "ids.txt", *files)
        report = import_embeddings(posts, there, arrays, name="copy", modality="text")
        assert (report.stored, report.missing) == (len(self.rows), 0)
        (spec,) = stored_specs(there)
        assert stored(Store(there / spec.slug, spec)) == dict.fromkeys(self.rows, words)

    @rule()
    def read_as_of_then(self) -> None:
        """A reader that opened the store earlier gets its rows, or is told that they were merged meanwhile."""
        refusal = ""
        try:
            for positions, block in self.reader.read(self.reader.keys, tokens=False):
                for position, vector in zip(positions, block.pooled, strict=True):
                    np.testing.assert_array_equal(vector, pooled(KEYS.index(self.reader.keys[position])))
        except StoreError as error:
            refusal = str(error)
        gone = not all(part.path.exists() for part in self.reader.parts)
        assert not refusal or (gone and "merged by another run" in refusal)
        self.reader = Store(self.store.folder, SPEC)

    @invariant()
    def the_store_is_the_dictionary(self) -> None:
        store = Store(self.store.folder, SPEC)
        self.store.refresh()
        assert [part.path for part in store.parts] == [part.path for part in self.store.parts]
        assert all(part.path.match("part-*.h5") for part in store.parts)
        assert stored(store) == self.rows
        assert len(store) == len(self.rows)
        assert store.find(KEYS).tolist() == [number in self.rows for number in range(len(KEYS))]
        assert store.find(KEYS, tokens=True).tolist() == [self.rows.get(n, False) for n in range(len(KEYS))]
        store.verify()


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


@pytest.mark.slow
class TestStoreModelAtLength(StoreModel.TestCase):  # type: ignore[misc, valid-type, name-defined]
    settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
