"""Encoders that `msa finetune` wrote: a base encoder, its new weights, and a record of all rows used in training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..regular_files import regular
from ..spec import EncoderSpec, Modality
from ..store.json_files import dump_json, load_json, write_json
from .encoder import Encoder, EncoderOptions, Source, refuse_weights
from .runtime import Runtime
from .variants import parse_encoder_name, safe_base_name

RECORD, WEIGHTS = "tuned.json", "weights.safetensors"
MARK = " tuned:"  # in `EncoderSpec.weights`, before the digest of the record

Open = Callable[[str, Modality, EncoderOptions], Source]


@dataclass(frozen=True)
class TunedRecord:
    """What an encoder was tuned on: fold `fold` of the stored split `split`, made by `--folds` and `--seed`.

    `folds` None is the single 80/20 split. `trained` and `selected` are the sorted content keys, of images and texts,
    of its training rows and of the validation rows that chose its epoch.
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
        """16 hex digits of all fields."""
        fields = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(fields.encode(), digest_size=8).hexdigest()

    @property
    def where(self) -> str:
        """The split and fold, for a message."""
        cut = "its one 80/20 split" if self.folds is None else f"fold {self.fold} of {self.folds}"
        return f"stored split {self.split} ({cut}, seed {self.seed})"

    def to_json(self) -> str:
        """The content of its file, with the format version."""
        return dump_json(asdict(self))


def is_tuned(folder: Path) -> bool:
    """Whether `msa finetune` wrote this folder."""
    return (folder / RECORD).is_file() and (folder / WEIGHTS).is_file()


def tuned_names(name: str, modality: Modality) -> list[str]:
    """The names that a folder of tuned encoders stands for: those of the modality, in the order of their folds.

    Any other name stands for itself. Raises ValueError for a folder of tuned encoders of the other modality.
    """
    variant = parse_encoder_name(name)
    folder = Path(variant.base).expanduser()
    if not variant.base or not folder.is_dir() or is_tuned(folder):
        return [name]
    inside = [(read_record(one), one) for one in sorted(folder.iterdir()) if is_tuned(one)]
    found = [(record.fold, str(one)) for record, one in inside if record.modality == modality]
    if inside and not found:
        other = inside[0][0].modality
        raise ValueError(f"{name!r} holds tuned encoders of {other}, none of {modality}; pass it as --{other}")
    return [one + variant.suffix for _, one in sorted(found)] or [name]


def tuned_name(name: str, modality: Modality) -> str:
    """The one name that a name stands for. Raises ValueError for a folder of an encoder for each fold."""
    first, *others = tuned_names(name, modality)
    if others:
        raise ValueError(
            f"{name!r} holds one encoder for each of {1 + len(others)} folds, which `msa train-head` reads as one; "
            f"name one of them, as {first}"
        )
    return first


def read_record(folder: Path) -> TunedRecord:
    """The record in a tuned encoder's folder, or in that of its cache. Raises ValueError."""
    file = folder / RECORD
    try:
        fields = load_json(regular(file).read_text("utf-8"))
        lists = {name: tuple(fields[name]) for name in ("classes", "trained", "selected")}
        return TunedRecord(**(fields | lists))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the record of a tuned encoder ({error!r}); tune it again") from error


def open_tuned(folder: Path, modality: Modality, options: EncoderOptions, open_base: Open) -> Source:
    """A folder that `msa finetune` wrote: its base encoder, opened by `open_base`, with the tuned weights.

    The spec's `weights` carry the digest of the record, so that features stay linked to their encoder's training rows.
    Raises ValueError for the wrong modality, a weights file of the user's, or a damaged folder.
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

    return Source(specs, load, base.words)


def keep_record(folder: Path, spec: EncoderSpec, cached: Path) -> None:
    """Copy the record of a tuned encoder's folder into the folder of its cache."""
    if MARK in spec.weights and folder.is_dir():
        write_json(cached / RECORD, asdict(read_record(folder)))


def record_of(spec: EncoderSpec, cache: Path) -> TunedRecord | None:
    """What a cached encoder was tuned on; None for one that was not tuned.

    Raises ValueError where its record is missing or another's: its training rows are then unknown.
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
