"""`msa finetune`: fit encoders to the training rows of stored folds, and write them with a record of these rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.encoders.encoder import Source
from ...features.encoders.runtime import Runtime, available_cores, pick_device
from ...features.encoders.sources import absolute_name
from ...features.encoders.tuned import MARK, TunedRecord
from ...features.encoders.variants import parse_encoder_name
from ...features.encoders.zoo import open_encoder
from ...features.messages import notify
from ...features.posts.content import Contents, split_keys
from ...features.posts.samples import Corpus
from ...features.progress import keeping, stage
from ...features.spec import MODALITIES, Modality
from ..data.join import join_posts, tied_by
from ..data.prepare import check_encodable
from ..data.split import Fold, Posts, load_or_make_folds
from ..data.split_notices import describe_split
from ..data.test_posts import mark_test_posts
from ..runs.destination import check_writable
from ..training.loop import training_threads
from .cost import TuningCost, measure_cost
from .inputs import PostInputs
from .request import TuneRequest
from .result import Finetuned, read_fold, write_fold
from .tune import Tuning, open_tuning

TUNABLE = ("torchvision", "timm", "transformers")  # sources whose encoders are trained in PyTorch


def finetune(corpus: Corpus, request: TuneRequest, out: Path) -> Finetuned:
    """Fit encoders with a classifier to the training rows of the request's folds; write their best epochs to `out`.

    Validation rows pick the epoch; test rows are never decoded. A post without what the encoders read is left out; with
    two of them, it may lack one. Of one encoder and one fold `out` is its folder, else a folder of such folders, and
    the same request goes on there after an interruption. Raises ValueError for an encoder that cannot be tuned, a fold
    that does not exist, or another `out` that does.
    """
    started = time.perf_counter()
    check_writable(out, "--out")
    tunings = FoldTunings.prepare(corpus, request)
    done, cost = [read_fold(out, request, tunings.records(number)) for number in tunings.numbers], None
    if out.exists() and not any(done):
        raise ValueError(f"{out} exists already; give another folder to --out")
    for place, number in enumerate(tunings.numbers):
        if done[place]:
            continue
        with tunings.open(number) as tuning:
            if cost is None:
                cost = measure_cost(tuning, folds=done.count(None))
                cost.point_out_shortage()
            stage(f"fine-tuning {tunings.names}, {cost.summary}")
            tuned = tuning.fit()
        done[place] = write_fold(out, request, tunings.records(number), tuned)
        keeping(lambda: f"the folds that are tuned are kept in {out}, and the same command continues there")
    return Finetuned(out, [fold for fold in done if fold], cost, round(time.perf_counter() - started, 2))


def estimate(corpus: Corpus, request: TuneRequest) -> TuningCost:
    """What `finetune` will take, measured on the first batches; writes no encoder. Raises ValueError as it does."""
    tunings = FoldTunings.prepare(corpus, request)
    with tunings.open(tunings.numbers[0]) as tuning:
        return measure_cost(tuning, folds=len(tunings.numbers))


@dataclass(frozen=True)
class FoldTunings:
    """The encoders of a request, its posts, and the `numbers` of the folds that they are tuned on."""

    request: TuneRequest
    corpus: Corpus
    sources: dict[Modality, Source]
    contents: Contents
    posts: Posts
    folds: Sequence[Fold]
    numbers: Sequence[int]
    device: str

    @classmethod
    def prepare(cls, corpus: Corpus, request: TuneRequest) -> FoldTunings:
        """Open the encoders, and load or make the folds. Raises ValueError for what cannot be tuned."""
        check_encodable(corpus)
        for modality in request.names:
            corpus.require(modality)
        if "image" in request.names and corpus.owners:
            notify(f"{len({*corpus.owners})} posts have several images; of each the first that can be read is used")
        sources = _open_sources(request)
        tied, splits = tied_by(request.group_by, MODALITIES), request.cache / "splits"
        contents, posts = join_posts(corpus, request.cache, tied, near_duplicates=request.near_duplicates)
        posts = mark_test_posts(posts, splits)
        folds = load_or_make_folds(posts, splits, folds=request.folds, seed=request.config.seed)
        for line in describe_split(posts, folds, set(request.names)):
            notify(line)
        chosen = range(len(folds)) if request.fold is None else [request.fold]
        if chosen[-1] >= len(folds):
            last = len(folds) - 1
            raise ValueError(
                f"--fold {request.fold} is not there, wanted 0 to {last}; add --folds {chosen[-1] + 1} or more"
            )
        return cls(request, corpus, sources, contents, posts, folds, chosen, pick_device(request.device))

    @property
    def names(self) -> str:
        """The encoders, for a message."""
        return " and ".join(self.request.names.values())

    @contextmanager
    def open(self, number: int) -> Iterator[Tuning]:
        """Fresh encoders, ready to be tuned on one fold."""
        threads = available_cores() if self.device == "cpu" else torch.get_num_threads()
        request = self.request
        with training_threads(threads):
            stage("loading model")
            encoders = {
                modality: source.load(Runtime(self.device, "torch")) for modality, source in self.sources.items()
            }
            rows = PostInputs(self.corpus, self.contents, encoders, request.encoders.options.clean)  # type: ignore[arg-type]
            settings = request.config, request.head, self.device
            with open_tuning(rows, self.corpus.labels, self.folds[number], *settings) as tuning:
                yield tuning

    def records(self, number: int) -> dict[Modality, TunedRecord]:
        """What each encoder, tuned on this fold, has seen: both modalities, as a copy of a post may lack one."""
        request, fold = self.request, self.folds[number]
        return {
            modality: TunedRecord(
                base=absolute_name(name),
                modality=modality,
                split=self.posts.digest(request.folds, request.config.seed),
                folds=request.folds,
                fold=number,
                seed=request.config.seed,
                classes=tuple(self.corpus.labels),
                trained=self._keys(fold.train),
                selected=self._keys(fold.valid),
            )
            for modality, name in request.names.items()
        }

    def _keys(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """Content keys of both modalities of these rows and of every copy of them."""
        groups, contents = self.posts.groups, self.contents
        whole = np.flatnonzero(np.isin(groups, groups[rows]))
        sides = [contents.joined(modality) for modality in MODALITIES]
        return tuple(sorted({key for row in whole for side in sides for key in split_keys(side[row])}))


def _open_sources(request: TuneRequest) -> dict[Modality, Source]:
    """The encoders of a request. Raises ValueError where one cannot be tuned."""
    return {modality: _open(request, modality, name) for modality, name in request.names.items()}


def _open(request: TuneRequest, modality: Modality, name: str) -> Source:
    variant = parse_encoder_name(name)
    if variant.suffix:
        raise ValueError(f"an encoder is tuned as a whole; leave out {variant.suffix!r} of {name!r}")
    if name.startswith("gensim:"):
        raise ValueError(
            f"{name!r} is fitted on a corpus as it is; take an encoder of torchvision, timm or transformers"
        )
    source = open_encoder(name, modality, request.options(modality))
    if MARK in source.spec.weights:
        raise ValueError(f"{name!r} is tuned already; tune the encoder that it was made of")
    if source.spec.source not in TUNABLE:
        raise ValueError(f"{name!r} has no weights to tune here; take an encoder of torchvision, timm or transformers")
    return source
