"""Python functions that train heads, as `msa train-head`, `msa ablate` and `msa sweep` do, with the same settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..features.messages import near_or_all
from ..features.posts.samples import Corpus
from ..heads.registry import fusion_names
from .ablation import ablate as ablations
from .ablation.ablation_table import Ablation
from .ablation.variants import HeadPart
from .api import read_posts
from .config.data_config import DataConfig
from .config.forms import read_settings
from .config.head_config import HeadConfig
from .config.presets import Preset, check_fusion, read_preset
from .config.search_config import Search
from .config.train_config import TrainConfig
from .figures.report import write_report
from .inspection.opinions import write_ensemble_opinions
from .sweeps import sweep as sweeps
from .sweeps.leaderboard import SweepResult
from .sweeps.space import read_fusions, read_space
from .train_head import train_head as train
from .trained_run import TrainedRun, load_run

KINDS = DataConfig, HeadConfig, TrainConfig
READING = tuple(inspect.signature(read_posts).parameters)[1:]


def train_head(
    posts: str | Path,
    fusion: str | None = None,
    *,
    preset: Preset | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    **settings: Any,
) -> TrainedRun:
    """Train a fusion head over folds, compare it with baselines, and write its run folder, as `msa train-head` does.

    `settings` are the options of the command by name, as `folds=5`, `lr=3e-4`, `image="resnet50"`, `columns={...}`;
    those that are not given are the `preset`'s, or else the defaults. The features must be cached. Raises ValueError
    for an unknown setting or a wrong value.

    >>> run = msa.train_head("posts", "gated", epochs=5, hidden=32)
    >>> run.metrics
    """
    usual = preset_settings(preset) if preset else {}
    chosen = {} if fusion is None else {"fusion": fusion}
    found = _split(usual | settings | chosen)
    check_fusion(preset, found.head.fusion)
    trained = train(found.corpus(posts), found.data, found.head, found.training, runs=Path(runs), name=name)
    return load_run(trained.run)


def ablate(
    posts: str | Path,
    fusion: str | Sequence[str] = "gated",
    *,
    modality: ablations.Modalities = "all",
    how: ablations.How = "retrain",
    part: HeadPart | None = None,
    seeds: int = 1,
    runs: str | Path = "runs",
    name: str | None = None,
    **settings: Any,
) -> Ablation:
    """Measure what each modality, or a part of a head, contributes, as `msa ablate` does.

    Several heads are given as a list, or as `"gated,concat"`; `settings` are as for `train_head`. The result has a row
    for each head and each of its variants, and its folder as `path`. Raises ValueError as `train_head`.

    >>> msa.ablate("posts", ["concat", "gated"], epochs=3, hidden=32).to_text()
    """
    found = _split(settings)
    names = fusion_names(fusion if isinstance(fusion, str) else ",".join(fusion))
    heads = [replace(found.head, fusion=one) for one in names]
    ablation = ablations.ablate(
        found.corpus(posts),
        found.data,
        heads,
        found.training,
        modality=modality,
        how=how,
        part=part,
        seeds=seeds,
        runs=Path(runs),
        name=name,
    )
    write_report([ablation.path])
    return ablation


def sweep(
    posts: str | Path,
    space: Mapping[str, str | Sequence[Any]],
    fusion: str | Sequence[str] = "gated",
    *,
    by: str = "accuracy",
    runs: str | Path = "runs",
    name: str = "sweep",
    **settings: Any,
) -> SweepResult:
    """Search settings on inner folds and score the best on posts that took no part in the choice, as `msa sweep` does.

    `space` has a range `"1e-4..3e-3"` or a list of values by setting; `by` is the metric that ranks the trials;
    `settings` are as for `train_head`, and those of the search: `trials`, `inner`, `outer`, `sampler`, `halving`,
    `batch`, `study`; `ensemble="greedy"` joins trials into one model, a run at `found.ensemble.path`. The same call
    goes on with a sweep that was interrupted. Raises ValueError as `train_head`.

    >>> found = msa.sweep("posts", {"lr": "1e-3..1e-2", "hidden": [16, 32]}, "concat", trials=4, inner=2, epochs=3)
    >>> found.best.head, found.best.inner, found.outer
    """
    own = {one.name for one in fields(Search)} - {"metric"}
    search = Search(metric=by, **{key: settings.pop(key) for key in [*settings] if key in own})
    heads = read_fusions(fusion if isinstance(fusion, str) else list(fusion))
    texts = [f"{key}={one if isinstance(one, str) else ','.join(map(str, one))}" for key, one in space.items()]
    varied = read_space(texts, fusion=",".join(heads), file=None)
    found = _split(settings, fusion=heads[0])
    corpus = found.corpus(posts)
    swept = sweeps.sweep(corpus, found.data, varied, found.head, found.training, search, runs=Path(runs), name=name)
    if swept.ensemble:
        write_ensemble_opinions(swept.ensemble)
    return swept


@dataclass(frozen=True)
class Settings:
    """The settings of a training, and the options that its posts are read with."""

    data: DataConfig
    head: HeadConfig
    training: TrainConfig
    reading: dict[str, Any]

    def corpus(self, posts: str | Path) -> Corpus:
        """The posts, read with these options."""
        return read_posts(posts, **self.reading)


def preset_settings(preset: Preset) -> dict[str, Any]:
    """The settings of a preset by the names of their fields. Raises ValueError for an unknown one."""
    options = read_preset(preset)
    return {key: value for kind in KINDS for key, value in read_settings(kind, options).items()}


def _split(settings: Mapping[str, Any], **head: Any) -> Settings:
    """Sort settings by the dataclass that has a field of the name. Raises ValueError for one that none has."""
    names = [{one.name for one in fields(kind)} for kind in KINDS]
    known = set().union(*names, READING)
    for name in settings:
        if name not in known:
            raise ValueError(f"there is no setting {name!r}{near_or_all(name, known)}")
    given = dict(settings)
    for name in ("image", "text", "drop_label"):
        if name in given:
            given[name] = (given[name],) if isinstance(given[name], str) else tuple(given[name] or ("none",))
    if "cache" in given:
        given["cache"] = Path(given["cache"])
    parts = [{key: value for key, value in given.items() if key in own} for own in names]
    reading = {key: value for key, value in given.items() if key in READING}
    data, own, training = parts
    return Settings(DataConfig(**data), HeadConfig(**{**own, **head}), TrainConfig(**training), reading)
