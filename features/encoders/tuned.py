"""Encoders that `msa finetune` wrote: a base encoder, its new weights, and a record of every row they have seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..spec import EncoderSpec, Modality
from ..store.durable import write_atomic
from .encoder import Encoder, EncoderOptions, Source, refuse_weights
from .variants import parse_encoder_name, safe_base_name

if TYPE_CHECKING:
    from .runtime import Runtime

RECORD, WEIGHTS = "tuned.json", "weights.safetensors"
MARK = " tuned:"  # in `EncoderSpec.weights`, before the digest of the record

Open = Callable[[str, Modality, EncoderOptions], Source]


@dataclass(frozen=True)
class TunedRecord:
    """What an encoder was tuned on: fold `fold` of the stored split `split`, which `--folds` and `--seed` make.

    `folds` None is the one 80/20 split. `trained` and `selected` are the content keys, image and text alike, of
    the rows that it was fitted on, and of those that chose its epoch; sorted.
    """

    base: str
    modality: Modality
    split: str
    folds: int | None
    fold: int
    seed: int
    classes: tuple[str, ...]
    trained: tuple[str, ...]
    selected: tuple[str, ...]

    @property
    def digest(self) -> str:
        """16 hex digits of everything above."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()

    @property
    def where(self) -> str:
        """The split and fold, for a reader."""
        cut = "its one 80/20 split" if self.folds is None else f"fold {self.fold} of {self.folds}"
        return f"stored split {self.split} ({cut}, seed {self.seed})"

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def is_tuned(folder: Path) -> bool:
    """Whether `msa finetune` wrote this folder."""
    return (folder / RECORD).is_file() and (folder / WEIGHTS).is_file()


def read_record(folder: Path) -> TunedRecord:
    """The record in a tuned encoder's folder, or in that of its cache. Raises ValueError."""
    file = folder / RECORD
    try:
        said = json.loads(file.read_text("utf-8"))
        lists = {name: tuple(said[name]) for name in ("classes", "trained", "selected")}
        return TunedRecord(**(said | lists))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the record of a tuned encoder ({error!r}); tune it again") from error


def open_tuned(folder: Path, modality: Modality, options: EncoderOptions, open_base: Open) -> Source:
    """A folder that `msa finetune` wrote: its base encoder, opened by `open_base`, with the tuned weights.

    The spec's `weights` carry the digest of the record, so that features never lose what the encoder has seen.
    Raises ValueError for the wrong modality, weights beside its own, or a damaged folder.
    """
    record = read_record(folder)
    refuse_weights(str(folder), options)
    if record.modality != modality:
        raise ValueError(f"{str(folder)!r} serves {record.modality}, not {modality}; pass it as --{record.modality}")
    base = open_base(record.base, modality, replace(options, weights=folder / WEIGHTS))
    name = f"tuned:{safe_base_name(folder.resolve().name)}"
    specs = tuple(
        replace(
            spec,
            name=name + parse_encoder_name(spec.name, local=False).suffix,
            weights=f"{spec.weights}{MARK}{record.digest}",
        )
        for spec in base.specs
    )

    def load(runtime: Runtime) -> Encoder:
        encoder = base.load(runtime)
        encoder.specs = specs
        return encoder

    return Source(specs, load)


def keep_record(folder: Path, spec: EncoderSpec, cached: Path) -> None:
    """Write the record of a tuned encoder's folder into the folder of its cache, where it is not there yet."""
    if MARK in spec.weights and folder.is_dir():
        content = read_record(folder).to_json().encode()
        if not (cached / RECORD).exists() or (cached / RECORD).read_bytes() != content:
            write_atomic(cached / RECORD, content)


def record_of(spec: EncoderSpec, cache: Path) -> TunedRecord | None:
    """What a cached encoder was tuned on; None for one that never was.

    Raises ValueError where its record is gone or is another's: what it has seen is then unknown.
    """
    _, mark, digest = spec.weights.partition(MARK)
    if not mark:
        return None
    record = read_record(cache / spec.slug)
    if record.digest != digest:
        raise ValueError(
            f"{cache / spec.slug / RECORD}: not the record that {spec.name!r} was cached with; run `msa extract` again"
        )
    return record
