"""`msa cache verify`: compares every part with its checksum, and a sample of rows with the output of their encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoders.sources import reopen
from ..extraction.embed import embed_corpus
from ..extraction.settings import ExtractSettings
from ..messages import explain
from ..posts.content import Contents, hash_corpus
from ..posts.samples import Corpus, Sample
from ..progress import stage, step
from ..spec import EncoderSpec
from ..store.durable import entries
from ..store.errors import read_errors
from ..store.header import StoreError
from ..store.parts import open_part, part_files, verify_part
from ..store.store import Store, no_embeddings, read_spec
from ..store.temporary_folders import TemporaryFolder
from ..text_table import Part, Report, Table, paragraph

CHUNK = 64  # rows compared together
# least cosine between a stored row and the same encoded again; ids must be equal
POOLED, TOKENS = 0.9999, {"float32": 0.9999, "float16": 0.999, "uint8": 0.999, "int32": 1.0}
Item = tuple[NDArray[np.float32], NDArray[Any] | None]  # pooled (D,), tokens (T, D)


@dataclass
class StoreCheck:
    """The findings of one folder. `compared` rows were encoded again; `unopened` is why none could be."""

    slug: str
    parts: int = 0
    bytes: int = 0
    damage: list[str] = field(default_factory=list)
    compared: int = 0
    pooled_cosine: float | None = None  # least of all rows
    token_cosine: float | None = None  # least of all tokens of all rows
    difference: float | None = None  # largest between two numbers
    mismatches: list[str] = field(default_factory=list)
    unopened: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged and all that was compared is equal."""
        return not self.damage and not self.mismatches


@dataclass(frozen=True)
class Verification(Report):
    """The findings of a cache; `sampled`: posts were given, so that a sample was encoded."""

    checks: Sequence[StoreCheck]
    sampled: bool

    @property
    def ok(self) -> bool:
        """Whether all encoders are ok."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "sampled": self.sampled, "encoders": [asdict(c) | {"ok": c.ok} for c in self.checks]}

    def parts(self) -> list[Part]:
        """A row for each encoder, and what is damaged below."""
        header = ["folder", "checksums", "compared", "cosine", "of tokens"]
        lines = []
        for c in self.checks:
            state = f"{len(c.damage)} DAMAGED" if c.damage else "ok"
            cosines = _digits(c.pooled_cosine), _digits(c.token_cosine)
            lines.append([c.slug, state, c.compared, *cosines])
        notes = [note for check in self.checks for note in (*check.damage, *check.mismatches)]
        notes += [f"{c.slug} was not encoded again: {c.unopened}" for c in self.checks if c.unopened]
        if not self.sampled:
            notes.append("checksums only; give the posts to encode a sample of them again and compare it")
        return [Table(header, lines, "Checksums, and the least cosine of rows encoded again"), *paragraph(notes)]


def verify_cache(
    cache: Path,
    corpus: Corpus | None = None,
    *,
    sample: int = 32,
    seed: int = 0,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
) -> Verification:
    """Check every folder of a cache and report all faults. Nothing is written.

    `sample` rows per store, drawn by `seed` among those of `corpus`, are encoded again. Raises ValueError for an empty
    cache.
    """
    folders = [path for path in entries(cache) if path.is_dir() and ((path / "spec.json").exists() or part_files(path))]
    if not folders:
        raise ValueError(no_embeddings(cache))
    checks = []
    stage("comparing checksums")
    with ThreadPoolExecutor() as pool:
        for check in pool.map(check_folder, folders):
            checks.append(check)
            step("folders", len(checks), len(folders), "folders")
    if corpus is not None and sample:
        contents = hash_corpus(corpus, cache, update=False)
        settings.choose_runtime()  # a wrong device is no fault of a store
        for folder, check in zip(folders, checks, strict=True):
            if check.damage:
                check.unopened = "it is damaged"
                continue
            store = Store(folder, read_spec(folder))
            posts = _draw(corpus, contents, store, sample, seed)
            if not posts:
                check.unopened = "none of its rows belongs to these posts"
                continue
            drawn = replace(corpus, samples=list(posts.values()))
            with TemporaryFolder() as again:
                try:
                    source = reopen(store.spec, cache, local_files_only=local_files_only)
                    embed_corpus(drawn, [source], Path(again), settings, merge=False)
                except Exception as error:
                    check.unopened = explain(error)
                    if check.unopened is None:
                        raise
                    continue
                _compare(check, store, posts, Store(Path(again) / folder.name, store.spec))
    return Verification(checks, corpus is not None and sample > 0)


def check_folder(folder: Path) -> StoreCheck:
    """Compare every part of one folder with its checksum and its spec, and read its notes."""
    check = StoreCheck(folder.name)
    spec = None
    for read in (read_spec, read_errors):
        try:
            found = read(folder)
            spec = found if isinstance(found, EncoderSpec) else spec
        except (OSError, ValueError) as error:
            check.damage.append(explain(error) or str(error))
    seen: set[Path] = set()
    while new := sorted(set(part_files(folder)) - seen):  # a merge may replace parts meanwhile
        seen.update(new)
        for path in new:
            try:
                verify_part(path)
                if spec is not None:
                    open_part(path, spec)
                check.bytes += path.stat().st_size
            except FileNotFoundError:
                continue
            except (OSError, StoreError) as error:
                check.damage.append(explain(error) or str(error))
            check.parts += 1
    return check


def _draw(corpus: Corpus, contents: Contents, store: Store, sample: int, seed: int) -> dict[str, Sample]:
    """Stored keys that the corpus holds, drawn at random, and for each a post that has the content."""
    first = contents.first(store.spec.reads)
    distinct = sorted(first)
    stored = [key for key, there in zip(distinct, store.find(distinct), strict=True) if there]
    drawn = np.random.default_rng(seed).permutation(len(stored))[:sample]
    items = corpus.items(store.spec.reads)
    return {stored[at]: items[first[stored[at]]] for at in sorted(drawn.tolist())}


def _compare(check: StoreCheck, store: Store, posts: Mapping[str, Sample], again: Store) -> None:
    """Compare the rows of these keys and posts with those of a store that was written again."""
    check.compared = len(posts)
    refused = {record.key: record.reason for record in read_errors(again.folder)}
    prefix = f"{store.spec.slug}: post"
    check.mismatches += [
        f"{prefix} {posts[key].id} is stored, but cannot be encoded: {refused[key]}" for key in posts if key in refused
    ]
    with_tokens = store.find(list(posts), tokens=True)
    for tokens in (True, False):
        keys = [key for key, has in zip(posts, with_tokens, strict=True) if has == tokens and key not in refused]
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            new = _read(again, chunk, tokens=tokens)
            for key, row in _read(store, chunk, tokens=tokens).items():
                _compare_row(check, store.spec, posts[key].id, row, new[key])


def _read(store: Store, keys: Sequence[str], *, tokens: bool) -> dict[str, Item]:
    return {
        keys[int(position)]: (pooled, item)
        for positions, rows in store.read(keys, tokens=tokens)
        for position, pooled, item in zip(positions, rows.pooled, rows.token_rows(), strict=True)
    }


def _compare_row(check: StoreCheck, spec: EncoderSpec, post: str, stored: Item, again: Item) -> None:
    pooled = float(cosines(stored[0][None], again[0][None])[0])
    check.pooled_cosine = min(pooled, 1.0 if check.pooled_cosine is None else check.pooled_cosine)
    wrong = [] if pooled >= POOLED else [f"pooled vectors have cosine {_digits(pooled)}, below {POOLED}"]
    far = np.abs(stored[0] - again[0]).max()
    if stored[1] is not None and again[1] is not None:
        if len(stored[1]) != len(again[1]):
            wrong.append(f"{len(stored[1])} tokens are stored, the encoder gives {len(again[1])}")
        elif len(again[1]):
            least = _least_cosine(stored[1], again[1])
            check.token_cosine = min(least, 1.0 if check.token_cosine is None else check.token_cosine)
            far = max(far, np.abs(stored[1].astype(np.float32) - again[1].astype(np.float32)).max())
            if least < TOKENS[spec.dtype]:
                wrong.append(f"tokens have cosine {_digits(least)}, below {TOKENS[spec.dtype]}")
    check.difference = max(float(far), check.difference or 0.0)
    if wrong:
        check.mismatches.append(f"{spec.slug}: post {post} differs from its encoder's output: {'; '.join(wrong)}")


def _least_cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The least cosine of the rows of two arrays (T, D); of ids, 1 where all are the same, else 0."""
    return float(np.array_equal(one, other)) if one.dtype == np.int32 else float(cosines(one, other).min())


def cosines(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of each row of two arrays (n, D); 1 where both rows are about zero, 0 where only one is."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    tiny = 1e-6 * max(lengths[0].max(), lengths[1].max())
    zero = [length <= tiny for length in lengths]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = (a * b).sum(1) / (lengths[0] * lengths[1])
    found[zero[0] | zero[1]] = 0.0
    found[zero[0] & zero[1]] = 1.0
    return np.nan_to_num(found, nan=0.0)


def _digits(cosine: float | None) -> str:
    """Rounded down, so that a cosine below a limit does not look like the limit; equal rows are 1 but for 1e-9."""
    return "-" if cosine is None else f"{np.floor((cosine + 1e-9) * 1e6) / 1e6:.6f}"
