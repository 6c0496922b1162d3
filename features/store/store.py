"""The embedding store of one encoder: append-only parts in a folder, found by content key, merged when small."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..regular_files import regular
from ..spec import EncoderSpec
from .durable import entries, make_folder, remove_stale_temporaries, writing
from .header import StoreError
from .json_files import load_json, write_json
from .locks import lock
from .parts import KEY, EmbeddingBlock, Part, open_part, part_files, read_part, token_lengths, verify_part, write_part

FLUSH_BYTES = 64 << 20  # of a part that an extraction writes at a time
MERGE_LIMIT = 16 << 30  # larger parts are left alone: rewriting them would cost more than opening a few files


class Store:
    """The cache folder of one encoder. Cheap to open; call `refresh` to see what other processes wrote."""

    def __init__(self, folder: Path, spec: EncoderSpec, *, faults: list[str] | None = None) -> None:
        """Open `folder`; raise StoreError if it belongs to another encoder or a part is torn.

        With a list of `faults`, such a part is described there, and its rows are left out.
        """
        self.folder = folder
        self.spec = spec
        self.parts: list[Part] = []
        self.refresh(faults)

    @classmethod
    def open(cls, cache: Path, spec: EncoderSpec) -> Store:
        """Open the store of `spec` under the cache folder; create it if it is new. Raises ValueError if it cannot."""
        folder = cache / spec.slug
        with writing(folder):
            make_folder(folder)
            if not (folder / "spec.json").exists():
                write_json(folder / "spec.json", asdict(spec))
        return cls(folder, spec)

    def refresh(self, faults: list[str] | None = None) -> None:
        """List the parts again; those with tokens first, so that they win over pooled-only rows of the same key."""
        while True:
            parts, found = [], []
            try:
                for path in part_files(self.folder):
                    try:
                        parts.append(open_part(path, self.spec))
                    except (OSError, StoreError) as error:
                        if faults is None or isinstance(error, FileNotFoundError):
                            raise
                        found.append(str(error))
                break
            except FileNotFoundError:  # merged away between listing and opening: its rows are in a newer part
                continue
        if faults is not None:
            faults += found
        self.parts = sorted(parts, key=lambda part: not part.has_tokens)
        keys = [part.keys for part in self.parts]
        everything = np.concatenate(keys) if keys else np.empty(0, KEY)
        self._keys, first = np.unique(everything, return_index=True)
        starts = np.cumsum([0, *map(len, self.parts)])
        self._part = np.searchsorted(starts, first, side="right") - 1
        self._row = first - starts[self._part]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[str]:
        """Content keys of all rows, in the order of the rows."""
        return [key.decode() for key in self._keys]

    @property
    def bytes(self) -> int:
        """Size of all parts on the disk."""
        return sum(part.bytes for part in self.parts)

    def lengths(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each key (n,), all stored; 0 where only the pooled vector is."""
        at, _ = self._find(keys, tokens=False)
        found = np.zeros(len(at), np.int64)
        for number, part in enumerate(self.parts):
            here = np.flatnonzero(self._part[at] == number)
            if part.has_tokens and len(here):
                found[here] = token_lengths(part)[self._row[at[here]]]
        return found

    def seconds(self, keys: Sequence[str]) -> float:
        """Seconds that extracting these keys, all stored, took; NaN where one of their parts does not say."""
        at, _ = self._find(keys, tokens=False)
        counts = np.bincount(self._part[at], minlength=len(self.parts))
        pairs = zip(self.parts, counts, strict=True)
        return sum((part.seconds * int(count) / len(part) for part, count in pairs if count), 0.0)

    def find(self, keys: Sequence[str], *, tokens: bool = False) -> NDArray[np.bool_]:
        """Mask (n,) of the keys that are stored, with `tokens` those that have their tokens."""
        return self._find(keys, tokens=tokens)[1]

    def read(self, keys: Sequence[str], *, tokens: bool) -> Iterator[tuple[NDArray[np.int64], EmbeddingBlock]]:
        """Yield blocks of bounded size: positions in `keys` (distinct, all stored) and their rows, in disk order.

        Raises StoreError for a key that is not stored, or stored without tokens where they are asked for.
        """
        if len(set(keys)) != len(keys):
            raise StoreError(f"keys to read must be distinct; got {len(keys) - len(set(keys))} repeated")
        at, found = self._find(keys, tokens=tokens)
        if not found.all():
            what = "with tokens" if tokens else "at all"
            raise StoreError(
                f"{self.spec.name}: {int((~found).sum())} of {len(keys)} items are not cached {what}; "
                "run `msa extract` for them"
            )
        for number, part in enumerate(self.parts):
            positions = np.flatnonzero(self._part[at] == number)
            if not len(positions):
                continue
            wanted = np.zeros(len(part), bool)
            back = np.full(len(part), -1, np.int64)
            wanted[self._row[at[positions]]] = True
            back[self._row[at[positions]]] = positions
            try:
                for numbers, rows in read_part(part, wanted, tokens=tokens):
                    yield back[numbers], rows
            except FileNotFoundError as error:
                raise StoreError(
                    f"{part.path}: merged by another run while being read; run the command again"
                ) from error

    def verify(self) -> None:
        """Compare every part with its checksum; raise StoreError at the first damaged one."""
        for part in self.parts:
            verify_part(part.path)

    def compact(self) -> None:
        """Merge the parts that are smaller than what an extraction writes at a time; all, where rows are repeated."""
        self.refresh()
        self.merge(below=math.inf if sum(map(len, self.parts)) > len(self) else FLUSH_BYTES)

    def merge(self, used: Collection[str] | None = None, *, below: float = math.inf) -> None:
        """Rewrite parts of less than `below` bytes as one without repeated rows, unless that one would be large.

        Safe to kill, and beside readers and other extractions. With `used` keys, all other rows are dropped too, from
        large parts as well.
        """
        with lock(self.folder / ".lock"):
            remove_stale_temporaries(self.folder)  # deletes what killed processes left
            self.refresh()
            wanted = np.ones(len(self), bool) if used is None else np.isin(self._keys, np.array(sorted(used), KEY))
            for has_tokens in (True, False):
                kind = [number for number, part in enumerate(self.parts) if part.has_tokens == has_tokens]
                numbers = [number for number in kind if self.parts[number].bytes < below]
                numbers.sort(key=lambda number: self.parts[number].bytes)
                totals = np.cumsum([self.parts[number].bytes for number in numbers])
                small = int((totals <= MERGE_LIMIT).sum())
                large = numbers[small:] if used is not None else []
                for group in (sorted(numbers[:small]), *([number] for number in large)):
                    self._rewrite(group, wanted, has_tokens)
            self.refresh()

    def _rewrite(self, group: list[int], wanted: NDArray[np.bool_], has_tokens: bool) -> None:
        """Replace parts by one with their rows that the index uses and whose key is wanted (mask over keys)."""
        kept = {number: np.zeros(len(self.parts[number]), bool) for number in group}
        for number, mask in kept.items():
            mask[self._row[(self._part == number) & wanted]] = True
        if all(mask.all() for mask in kept.values()) and len(group) < 2:
            return
        rows = int(sum(mask.sum() for mask in kept.values()))
        if rows:
            for number in group:  # a fresh checksum must not cover old damage
                verify_part(self.parts[number].path)
            tokens = sum(int(token_lengths(self.parts[n])[kept[n]].sum()) for n in group) if has_tokens else None
            blocks = (
                block for number in group for _, block in read_part(self.parts[number], kept[number], tokens=has_tokens)
            )
            shares = ((self.parts[number].seconds, mask.mean()) for number, mask in kept.items() if mask.any())
            seconds = sum((float(seconds * share) for seconds, share in shares), 0.0)
            write_part(self.folder, self.spec, blocks, rows=rows, token_rows=tokens, seconds=seconds)
        for number in group:
            self.parts[number].path.unlink()

    def remove_empty(self, known: Sequence[str]) -> bool:
        """Remove the folder of a store without parts if it holds only `known` files; return whether it was removed.

        A part that another process publishes meanwhile is kept, and the folder with it.
        """
        with lock(self.folder / ".lock"):
            self.refresh()
            in_use = remove_stale_temporaries(self.folder)
            if self.parts or in_use or {p.name for p in self.folder.iterdir()} - {".lock", *known}:
                return False
            for name in known:
                (self.folder / name).unlink(missing_ok=True)
        (self.folder / ".lock").unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            write_json(self.folder / "spec.json", asdict(self.spec))
            return False
        return True

    def _find(self, keys: Sequence[str], *, tokens: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Index of each key among the stored ones (n,), and whether it is stored (n,), with its tokens if asked."""
        wanted = np.array(keys, dtype=KEY)
        if not len(self._keys):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
        order = np.argsort(wanted)  # a search in order stays in the processor's cache
        at = np.empty(len(wanted), np.int64)
        at[order] = np.searchsorted(self._keys, wanted[order])
        at = np.minimum(at, len(self._keys) - 1)
        found = self._keys[at] == wanted
        if tokens:
            found &= np.array([part.has_tokens for part in self.parts])[self._part[at]]
        return at, found


def no_embeddings(cache: Path) -> str:
    """The message for a cache without stores."""
    return f"no embeddings in {str(cache)!r}; run `msa extract`, or give another folder with --cache"


def stored_specs(cache: Path, faults: list[str] | None = None) -> list[EncoderSpec]:
    """The specs of all encoders that have a folder in the cache, by folder name.

    Raises StoreError for a damaged one; with a list of `faults`, it is described there and left out.
    """
    specs = []
    for folder in entries(cache):
        try:
            if os.path.lexists(folder / "spec.json"):  # a link that leads nowhere is there
                specs.append(read_spec(folder))
        except (OSError, StoreError) as error:
            if faults is None:
                raise
            faults.append(str(error))
    return specs


def read_spec(folder: Path) -> EncoderSpec:
    """The spec of one encoder's folder. Raises StoreError where it is damaged or belongs to another folder."""
    description = folder / "spec.json"
    try:
        spec = EncoderSpec(**load_json(regular(description).read_text("utf-8")))
        if spec.slug != folder.name:
            raise ValueError(f"fingerprint {spec.fingerprint} in folder {folder.name!r}")
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{description}: not a spec of this msa ({error}); delete its folder and extract again"
        ) from error
    return spec
