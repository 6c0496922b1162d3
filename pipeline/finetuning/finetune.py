"""`msa finetune`: fit one encoder to the training rows of a stored split, and write it with a record of these rows."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from ...features.encoders.encoder import EncoderOptions, Source
from ...features.encoders.runtime import Runtime, available_cores, pick_device
from ...features.encoders.sources import absolute_name
from ...features.encoders.tuned import MARK, RECORD, WEIGHTS, TunedRecord
from ...features.encoders.variants import parse_encoder_name
from ...features.encoders.zoo import open_encoder
from ...features.messages import notify
from ...features.posts.content import Contents
from ...features.posts.samples import Corpus
from ...features.progress import stage
from ...features.spec import MODALITIES, Modality
from ...features.store.durable import new_folder, write_atomic
from ...features.store.json_files import write_json
from ...features.text_table import Part, Report, Table
from ..config.tune_config import TuneConfig
from ..config.values import GroupBy
from ..data.join import join_posts, tied_by
from ..data.prepare import check_encodable
from ..data.split import Posts, load_or_make_folds
from ..data.split_notices import describe_split
from ..data.test_posts import mark_test_posts
from ..metrics.tables import metric_title
from ..runs.destination import check_writable
from ..training.loop import training_threads
from .tune import EncoderInputs, TunedWeights, fit_encoder

TUNABLE = ("torchvision", "timm", "transformers")  # sources whose encoders are trained in PyTorch
COLUMNS = ("loss", "accuracy", "macro_f1")


@dataclass(frozen=True)
class Finetuned(Report):
    """A tuned encoder: its folder, its record, and how it was trained."""

    folder: Path
    record: TunedRecord
    tuned: TunedWeights
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        record = {name: value for name, value in asdict(self.record).items() if name not in ("trained", "selected")}
        tuned = {name: value for name, value in vars(self.tuned).items() if name != "weights"}
        return {"folder": str(self.folder), **record, **tuned, "seconds": self.seconds}

    def parts(self) -> list[Part]:
        """The table that the command prints, and what to do next."""
        lines = [
            [f"{number}{' *' * (number == self.tuned.best_epoch)}", *(f"{epoch[name]:.3f}" for name in COLUMNS)]
            for number, epoch in enumerate(self.tuned.history, 1)
        ]
        header, best = ["epoch", *map(metric_title, COLUMNS)], [self.tuned.best_epoch - 1]
        return [
            Table(header, lines, "Validation rows by epoch (* the best, which is kept)", best),
            f"{self.record.base} tuned on {self.tuned.rows} rows of {self.record.where}, "
            f"{self.tuned.rows_per_second:.1f} rows/s, {self.seconds:.0f} s\n"
            f"next: msa extract --{self.record.modality} {self.folder}",
        ]


def finetune(
    corpus: Corpus,
    name: str,
    modality: Modality,
    out: Path,
    *,
    options: EncoderOptions = EncoderOptions(),
    cache: Path = Path("cache"),
    folds: int | None = None,
    fold: int = 0,
    group_by: GroupBy = "both",
    near_duplicates: bool = False,
    config: TuneConfig = TuneConfig(),
    device: str = "auto",
) -> Finetuned:
    """Fit an encoder with a linear classifier to the training rows of fold `fold`; write the best epoch to `out`.

    The split is the one in `cache` that `msa train-head` uses with the same folds and seed. Its validation rows pick
    the epoch; its test rows are never decoded. Rows without the modality, or with a bad one, are left out. Raises
    ValueError for an encoder that cannot be tuned, a fold that does not exist, or an `out` that does.
    """
    started = time.perf_counter()
    if out.exists():
        raise ValueError(f"{out} exists already; give another folder to --out")
    check_writable(out, "--out")
    check_encodable(corpus)
    corpus.require(modality)
    source = _open(name, modality, options)
    contents, posts = join_posts(corpus, cache, tied_by(group_by, MODALITIES), near_duplicates=near_duplicates)
    posts = mark_test_posts(posts, cache / "splits")
    made = load_or_make_folds(posts, cache / "splits", folds=folds, seed=config.seed)
    for line in describe_split(posts, made, {modality}):
        notify(line)
    if not 0 <= fold < len(made):
        raise ValueError(f"--fold {fold} is not there, wanted 0 to {len(made) - 1}; add --folds {fold + 1} or more")
    place = pick_device(device)
    with training_threads(available_cores() if place == "cpu" else torch.get_num_threads()):
        stage("loading model")
        encoder: Any = source.load(Runtime(place, "torch"))
        rows = EncoderInputs(corpus, contents, encoder, modality, options.clean)
        trained = fit_encoder(encoder, rows, corpus.labels, made[fold], config, place)
    record = TunedRecord(
        base=absolute_name(name),
        modality=modality,
        split=posts.digest(folds, config.seed),
        folds=folds,
        fold=fold,
        seed=config.seed,
        classes=tuple(corpus.labels),
        trained=_keys(contents, posts, made[fold].train),
        selected=_keys(contents, posts, made[fold].valid),
    )
    how = asdict(config) | {"clean": options.clean, "max_length": options.max_length, "history": trained.history}
    _write(out, record, trained.weights, how)
    return Finetuned(out, record, trained, round(time.perf_counter() - started, 2))


def _open(name: str, modality: Modality, options: EncoderOptions) -> Source:
    """The encoder. Raises ValueError where it cannot be tuned."""
    variant = parse_encoder_name(name)
    if variant.suffix:
        raise ValueError(f"an encoder is tuned as a whole; leave out {variant.suffix!r} of {name!r}")
    if name.startswith("gensim:"):
        raise ValueError(
            f"{name!r} is fitted on a corpus as it is; take an encoder of torchvision, timm or transformers"
        )
    source = open_encoder(name, modality, options)
    if MARK in source.spec.weights:
        raise ValueError(f"{name!r} is tuned already; tune the encoder that it was made of")
    if source.spec.source not in TUNABLE:
        raise ValueError(f"{name!r} has no weights to tune here; take an encoder of torchvision, timm or transformers")
    return source


def _keys(contents: Contents, posts: Posts, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Content keys of both modalities of these rows and of every copy of them."""
    whole = np.flatnonzero(np.isin(posts.groups, posts.groups[rows]))
    found = {keys[row] for row in whole for keys in (contents.image_keys, contents.text_keys)}
    return tuple(sorted(key for key in found if key is not None))


def _write(out: Path, record: TunedRecord, weights: dict[str, Tensor], how: dict[str, Any]) -> None:
    """Write the folder of a tuned encoder; it appears whole or not at all."""
    with new_folder(out) as temp:
        write_atomic(temp / WEIGHTS, save({name: tensor.cpu().contiguous() for name, tensor in weights.items()}))
        write_json(temp / "training.json", how)
        write_atomic(temp / RECORD, record.to_json().encode())
