"""What a run's heads attend to on its test posts: the mean over many, and a few posts in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.encoders.encoder import Source
from ...features.encoders.sources import reopen
from ...features.posts.samples import Corpus, Sample
from ...heads.base import Head, Inputs
from ...heads.recording import Side, record
from ..runs.run_predictions import load_run_features
from ..runs.runs import Run, load_run
from ..runs.stored_run import Predictions, StoredRun
from .explain import explain
from .explanation import Explanation, LayerAttention
from .originals import open_splitters, read_original, seen_in
from .remarks import RIGHT, WRONG

SAMPLED = 100  # test posts that a mean is over
EACH = 2  # posts of each kind that are shown


@dataclass(frozen=True)
class Example:
    """A test post that is shown in full, and why."""

    kind: str
    sample: Sample
    explanation: Explanation


@dataclass(frozen=True)
class RunAttention:
    """Means over `posts` test posts: the attention of each layer, and the weights of the modalities by true class."""

    posts: int
    layers: list[LayerAttention]
    weights: dict[str, dict[Side, float]]
    examples: list[Example]


def explain_run(stored: StoredRun, corpus: Corpus) -> RunAttention | None:
    """Explain test posts of a stored run by heads that never saw them; None for heads without any weights.

    The features are read from the run's cache. Raises ValueError where they are not there.
    """
    assert stored.predictions
    run = load_run(stored.path)
    known = {sample.id: sample for sample in corpus.samples}
    shown = _shown(stored.predictions, known)
    sampled = _spread([name for name, _ in stored.predictions.posts if name in known], SAMPLED)
    names = list(dict.fromkeys([*shown, *sampled]))
    if not names or not weighs(run):
        return None
    chosen = replace(corpus, samples=[known[name] for name in names])
    table = load_run_features(run, chosen, run.cache)
    found = explain(
        run,
        table,
        [read_original(known[name], picture=name in shown) for name in names],
        splitters=open_splitters(_sources(run)),
        folds=[one.tested for one in seen_in(stored.path, table.posts)],
    )
    by_name = dict(zip(names, found, strict=True))
    means = [by_name[name] for name in sampled]
    return RunAttention(
        len(means),
        _mean_layers(means),
        _mean_weights(means),
        [Example(kind, known[name], by_name[name]) for name, kind in shown.items()],
    )


def weighs(run: Run) -> bool:
    """Whether any head of a run has attention or weights of the modalities, found by a pass over one empty post."""
    return any(_weighs(head, tokens=run.config.tokens) for head in run.heads[: run.config.ensemble_size])


def _weighs(head: Head, *, tokens: bool) -> bool:
    length = 2 if tokens else 1
    mask = torch.ones(1, length, dtype=torch.bool)
    raw = Inputs(torch.zeros(1, length, head.dims.image), mask, torch.zeros(1, length, head.dims.text), mask)
    training = head.training
    with torch.no_grad(), record(head.eval().fusion(raw)[0]) as found:
        head(raw)
    head.train(training)
    return bool(found.maps or found.shares)


def _sources(run: Run) -> list[Source]:
    """The text encoders that can be opened here, without the network."""
    found = []
    for spec in run.specs["text"]:
        try:
            found.append(reopen(spec, run.cache, local_files_only=True))
        except ValueError:  # its tokens are numbered, which each explanation notes
            continue
    return found


def _shown(predictions: Predictions, known: dict[str, Sample]) -> dict[str, str]:
    """The posts that the heads were most confident of: those they were right about, and those they were not."""
    confidence = predictions.probabilities.max(1)
    right = predictions.predicted == predictions.truth
    kinds: dict[str, NDArray[np.bool_]] = {RIGHT: right, WRONG: ~right}
    found: dict[str, str] = {}
    for kind, mask in kinds.items():
        order = [int(row) for row in np.argsort(-confidence, kind="stable") if mask[row]]
        fresh = [name for row in order if (name := predictions.posts[row][0]) in known and name not in found]
        found |= dict.fromkeys(list(dict.fromkeys(fresh))[:EACH], kind)
    return found


def _spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many of the names, evenly spaced, each once."""
    distinct = list(dict.fromkeys(names))
    return [distinct[place] for place in np.unique(np.linspace(0, len(distinct) - 1, most).astype(int)) if distinct]


def _mean_layers(found: Sequence[Explanation]) -> list[LayerAttention]:
    """The mean shares of each layer."""
    layers = []
    for number, first in enumerate(found[0].layers if found else ()):
        shares = [one.layers[number].shares for one in found]
        means = {target: float(np.mean([one[target] for one in shares])) for target in first.shares}
        layers.append(replace(first, shares=means))
    return layers


def _mean_weights(found: Sequence[Explanation]) -> dict[str, dict[Side, float]]:
    """The mean weights of the modalities over the posts of each true class; empty for heads without any."""
    by_class: dict[str, list[dict[Side, float]]] = {}
    for one in found:
        if one.modality_weights and one.truth is not None:
            by_class.setdefault(one.truth, []).append(one.modality_weights)
    return {
        label: {side: float(np.mean([one[side] for one in by_class[label]])) for side in by_class[label][0]}
        for label in sorted(by_class)
    }
