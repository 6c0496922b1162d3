"""`msa cache export`: writes one encoder's embeddings as npy, safetensors or Parquet, in the order of posts or keys."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..encoders.sources import pick_form
from ..messages import near_names
from ..posts.content import hash_corpus
from ..posts.samples import Corpus
from ..progress import stage, step
from ..spec import EncoderSpec
from ..store.durable import temporary
from ..store.errors import read_errors
from ..store.header import StoreError
from ..store.store import Store, stored_specs
from .arrays import Shapes, make_npy_files, text_lines, write_safetensors

Format = Literal["npy", "safetensors", "parquet"]
SUFFIXES: dict[str, Format] = {".safetensors": "safetensors", ".parquet": "parquet"}
CHUNK_BYTES = 64 << 20  # of a row group of a Parquet file


@dataclass(frozen=True)
class Exported:
    """The result of an export: rows, tokens in all (None: pooled vectors alone), and notes on what was left out."""

    path: Path
    format: Format
    slug: str
    rows: int
    tokens: int | None
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {**vars(self), "path": str(self.path), "notes": list(self.notes)}

    def to_text(self) -> str:
        """What was written and where, in a line; notes below."""
        tokens = "pooled vectors alone" if self.tokens is None else f"{self.tokens} tokens"
        return "\n".join([f"{self.rows} rows of {self.slug}, {tokens}: {self.path} ({self.format})", *self.notes])


def pick_spec(cache: Path, name: str) -> EncoderSpec:
    """The one cached encoder of that name, folder or fingerprint, of either modality; ValueError otherwise."""
    faults: list[str] = []
    specs = stored_specs(cache, faults)
    found = [spec for spec in specs if name in (spec.name, spec.slug, spec.fingerprint)]
    if found:
        return found[0] if len(found) == 1 else pick_form(name, found)
    if faults:  # it may be the one that is asked for
        raise StoreError(faults[0])
    near = near_names(name, [spec.name for spec in specs])
    raise ValueError(f"no embeddings of {name!r} in {str(cache)!r}, `msa cache ls` lists all{near}")


def export_embeddings(
    cache: Path,
    name: str,
    to: Path,
    corpus: Corpus | None = None,
    *,
    format: Format | Literal["auto"] = "auto",
    tokens: bool = True,
) -> Exported:
    """Write the embeddings of one encoder to `to`, which must not exist; a killed export leaves no file there.

    With a corpus there is a row for each post that has the modality, in its order; without, one per content key.
    Memory does not grow with the rows. Raises ValueError, and StoreError for a damaged cache.
    """
    spec = pick_spec(cache, name)
    chosen: Format = SUFFIXES.get(to.suffix, "npy") if format == "auto" else format
    if to.exists():
        raise ValueError(f"{str(to)!r} exists already; delete it, or give another name with --to")
    if chosen == "parquet":
        import pyarrow  # noqa: F401 (to fail before the work where it is missing)
    store = Store(cache / spec.slug, spec)
    stage("comparing checksums")
    store.verify()
    texts, notes = ({"keys": store.keys}, []) if corpus is None else _select(store, corpus)
    keys = texts["keys"]
    if not keys:
        raise ValueError(f"{spec.slug} holds no row to export" + ("" if corpus is None else " of these posts"))
    lacking = int((~store.find(keys, tokens=True)).sum()) if tokens else 0
    if lacking:
        tokens = False
        notes.append(f"{lacking} rows have no tokens in the cache, so only pooled vectors were written")
    stage(f"exporting {spec.name}")
    to.parent.mkdir(parents=True, exist_ok=True)
    temp = temporary(to.parent)
    temp.mkdir()
    try:
        total = _write(store, texts, temp, chosen, tokens)
        (temp / chosen).rename(to)
    finally:
        shutil.rmtree(temp)
    return Exported(to, chosen, spec.slug, len(keys), total, notes)


def _select(store: Store, corpus: Corpus) -> tuple[dict[str, list[str]], list[str]]:
    """Keys and ids of a row per post that is stored, and notes; posts without good content are left out and counted.

    A post with several images has a row for each.
    """
    contents, items = hash_corpus(corpus, store.folder.parent), corpus.items(store.spec.reads)
    keys = contents.keys(store.spec.reads)
    known = {key: bool(there) for key, there in zip(keys, store.find([key or "" for key in keys]), strict=True)}
    failed = {record.key for record in read_errors(store.folder)}
    lacking = sum(key is not None and not there and key not in failed for key, there in known.items())
    if lacking:
        raise ValueError(
            f"{lacking} items have no embedding of {store.spec.name}; run `msa extract --{store.spec.modality} "
            f"{store.spec.name}`"
        )
    rows = [(key, post.id) for key, post in zip(keys, items, strict=True) if key is not None and known[key]]
    left, further = len(items) - len(rows), len(items) - len(corpus.samples)
    read = "image and text" if store.spec.reads == "post" else store.spec.reads
    whose = f"posts without a readable {read}" + ", or further images that are not," * bool(further)
    notes = [f"{left} {whose} are left out"] if left else []
    if further:
        notes.append(f"a row is one image: {further} further images of posts with several come last, with their ids")
    return {"keys": [key for key, _ in rows], "ids": [name for _, name in rows]}, notes


def _write(store: Store, texts: Mapping[str, list[str]], temp: Path, format: Format, tokens: bool) -> int | None:
    """Write the rows as `temp/FORMAT`; return the number of tokens, None where they are left out."""
    spec, keys = store.spec, texts["keys"]
    lines = {name: text_lines(name, values) for name, values in texts.items() if format != "parquet"}
    shapes: Shapes = {"pooled": (np.dtype(np.float32), (len(keys), spec.width))}
    offsets = None
    if tokens:
        offsets = np.concatenate(([0], np.cumsum(store.lengths(keys)))).astype(np.int64)
        shapes["tokens"] = (np.dtype(spec.dtype), (int(offsets[-1]), spec.width))
        shapes["offsets"] = (offsets.dtype, offsets.shape)
    arrays = make_npy_files(temp / "npy", shapes)  # rows are read in disk order
    _fill(store, keys, offsets, arrays)
    if format == "parquet":
        _write_parquet(temp / format, spec, arrays, texts)
    elif format == "safetensors":
        bytes_of = {name: np.frombuffer(content, np.uint8) for name, content in lines.items()}
        write_safetensors(temp / format, {**arrays, **bytes_of}, {"encoder": spec.to_json()})
    else:
        for name, content in lines.items():
            (temp / format / f"{name}.txt").write_bytes(content)
        (temp / format / "encoder.json").write_text(spec.to_json(), encoding="utf-8")
    return None if offsets is None else int(offsets[-1])


def _fill(
    store: Store, keys: Sequence[str], offsets: NDArray[np.int64] | None, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Copy stored rows into the arrays: pooled (N, D), and with offsets (N+1,) tokens (sum of T, D)."""
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    if offsets is not None:
        arrays["offsets"][:] = offsets
    distinct, copied = list(rows_of), 0
    for positions, block in store.read(distinct, tokens=offsets is not None):
        copied += len(positions)
        step("rows", copied, len(distinct), "rows")
        for position, pooled, item in zip(positions, block.pooled, block.token_rows(), strict=True):
            for row in rows_of[distinct[int(position)]]:
                arrays["pooled"][row] = pooled
                if offsets is not None:
                    arrays["tokens"][offsets[row] : offsets[row + 1]] = item


def _write_parquet(
    path: Path, spec: EncoderSpec, arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, Sequence[str]]
) -> None:
    """Columns id and key, pooled as a list of D numbers, tokens as a list of such lists; bounded row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    def vectors(name: str) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(arrays[name]).reshape(-1)), spec.width)

    columns = {"id": pa.array(texts["ids"])} if "ids" in texts else {}
    columns |= {"key": pa.array(texts["keys"]), "pooled": vectors("pooled")}
    if "offsets" in arrays:
        columns["tokens"] = pa.ListArray.from_arrays(pa.array(arrays["offsets"].astype(np.int32)), vectors("tokens"))
    rows = len(arrays["pooled"])
    row_bytes = sum(array.nbytes for array in arrays.values()) // rows + 1
    whole = pa.table(columns).replace_schema_metadata({"encoder": spec.to_json()})
    parquet.write_table(whole, path, row_group_size=max(1, CHUNK_BYTES // row_bytes))
