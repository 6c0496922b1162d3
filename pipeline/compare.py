"""`msa compare`: trains each head on each combination of encoders, and leaves the runs that are there already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ..features.messages import notify
from ..features.posts.samples import Corpus
from ..features.progress import keeping, stage
from .config.data_config import DataConfig
from .config.head_config import HeadConfig
from .config.train_config import TrainConfig
from .data.cached_features import find_spec
from .data.classes import select_classes
from .data.fold_encoders import has_fold_encoders
from .data.join import join_posts
from .runs.folders import CONFIG, find_runs
from .runs.made import digest_posts
from .runs.run_config import read_settings
from .runs.stored_run import read_run
from .train_head import train_head

UNNAMED = re.compile(r"[^\w.@+-]+")  # what no name of a run has


@dataclass(frozen=True)
class Combination:
    """One head on one combination of encoders."""

    data_config: DataConfig
    head: HeadConfig

    @property
    def name(self) -> str:
        """The name of its run: the encoders and the head."""
        sides = ("+".join(side) for side in (self.data_config.image, self.data_config.text))
        return UNNAMED.sub("-", "-".join([*(side for side in sides if side != "none"), self.head.label]))

    def settings(self, training: TrainConfig, digest: str) -> dict[str, Any]:
        """What a stored run must have been trained with to stand for it."""
        data = self.data_config
        sides = (("image", data.image), ("text", data.text))
        slugs = [
            [find_spec(data.cache, name, modality).slug for name in names if name != "none"]  # type: ignore[arg-type]
            for modality, names in sides
        ]
        own = [data.folds, data.repeats, data.split]
        return {"encoders": slugs, "split": own, "head": self.head, "training": training, "posts": digest}


def combine(
    data_config: DataConfig, heads: Sequence[HeadConfig], *, image: Sequence[str], text: Sequence[str]
) -> list[Combination]:
    """Each head on each pair of an image and a text encoder, of which one may be `none`; `a+b` are side by side.

    Raises ValueError where no pair has an encoder, and for encoders that were tuned for each fold.
    """
    pairs = [(one, other) for one, other in product(image, text) if (one, other) != ("none", "none")]
    if not pairs:
        raise ValueError("no encoder is left: --image none and --text none; give encoders, as --text minilm,lexicon")
    found = []
    for one, other in pairs:
        config = replace(data_config, image=tuple(one.split("+")), text=tuple(other.split("+")))
        if has_fold_encoders(config):
            raise ValueError(f"{one} and {other}: encoders of single folds are not compared; use msa train-head")
        found += [Combination(config, head) for head in heads]
    return found


def compare(
    corpus: Corpus,
    combinations: Sequence[Combination],
    training: TrainConfig,
    *,
    runs: Path = Path("runs/compare"),
    reading: Mapping[str, Any] = {},
) -> list[Path]:
    """The runs of the combinations, in their order, in the folder `runs`; those that are not there are trained.

    `reading` is as for `train_head`. Raises ValueError where features are not cached, before anything is trained.
    """
    own = combinations[0].data_config
    chosen = select_classes(corpus, min_per_class=own.min_per_class, drop=own.drop_label)
    digest = digest_posts(join_posts(chosen, own.cache)[1])
    wanted = [one.settings(training, digest) for one in combinations]
    stored = list(_stored(runs))
    paths = [next((path for path, settings in stored if settings == one), None) for one in wanted]
    if there := sum(path is not None for path in paths):
        notify(f"{there} of {len(paths)} heads are trained already, in {runs}")
    for number, (one, path) in enumerate(zip(combinations, paths, strict=True)):
        if path is None:
            stage(f"head {number + 1} of {len(paths)}: {one.name}")
            trained = train_head(corpus, one.data_config, one.head, training, runs=runs, name=one.name, reading=reading)
            paths[number] = trained.run
            keeping(lambda: f"the heads so far are kept in {runs}, and the same command goes on with the others")
    return [path for path in paths if path is not None]


def _stored(runs: Path) -> Iterable[tuple[Path, dict[str, Any]]]:
    """The runs of a folder, newest first, with what they were trained with."""
    if not any(runs.glob(f"*/{CONFIG}")):
        return
    for path in reversed(find_runs(runs)):
        data, head, training, _ = read_settings(path)
        slugs = [[name for name in side if name != "none"] for side in (data.image, data.text)]
        own = [data.folds, data.repeats, data.split]
        digest = read_run(path).made.get("data", {}).get("digest")
        yield path, {"encoders": slugs, "split": own, "head": head, "training": training, "posts": digest}
