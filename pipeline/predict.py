"""`msa predict`: predictions of a stored run for posts, on features of the same encoders that it was trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..features.csv_text import class_columns, to_csv
from ..features.encoders.sources import reopen
from ..features.extraction.embed import Progress, embed_corpus
from ..features.extraction.settings import ExtractSettings
from ..features.posts.samples import Corpus, Sample
from ..features.store.durable import write_atomic
from ..features.store.errors import read_errors
from ..features.store.temporary_folders import TemporaryFolder
from .runs.run_predictions import load_run_features, run_probabilities
from .runs.runs import Run, load_run, rounded


@dataclass(frozen=True)
class Predictions:
    """A run's predictions for n posts: ids, classes, probabilities (n, K) averaged over its heads and views."""

    ids: list[str]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    blind: tuple[str, ...] = ()  # ids of posts of which nothing could be read: predicted without input

    @property
    def labels(self) -> list[str]:
        """The most probable class of each post."""
        return [self.classes[int(best)] for best in self.probabilities.argmax(1)]

    def to_dict(self) -> dict[str, object]:
        """The object of `--json`."""
        return {
            "predictions": [
                {"id": name, "label": label, "probabilities": dict(zip(self.classes, rounded(row), strict=True))}
                for name, label, row in zip(self.ids, self.labels, self.probabilities, strict=True)
            ],
            "blind": list(self.blind),
        }

    def to_text(self) -> str:
        """One line per post: its label, then a probability per class."""
        lines = zip(self.ids, self.labels, self.probabilities, strict=True)
        return "\n".join(
            f"{name}: {label} ({', '.join(f'{c} {p:.3f}' for c, p in zip(self.classes, row, strict=True))})"
            for name, label, row in lines
        )

    def to_csv(self) -> str:
        """`id,label` and one probability per class."""
        lines = zip(self.ids, self.labels, self.probabilities, strict=True)
        header = ["id", "label", *class_columns(["id", "label"], self.classes)]
        return to_csv(header, ([name, label, *rounded(row)] for name, label, row in lines))

    def to_course(self) -> str:
        """The course's answer file: `guid,tag`."""
        return to_csv(["guid", "tag"], zip(self.ids, self.labels, strict=True), plain=True)


def predict_corpus(
    run_folder: Path,
    corpus: Corpus,
    *,
    rows: str = "auto",
    cache: Path | None = None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
    progress: Progress = lambda name, done, total: None,
) -> Predictions:
    """Predict the posts of a corpus: `rows` is `unlabelled`, `all`, or `auto` (the unlabelled ones if there are any).

    Features that the cache lacks are extracted first. Raises ValueError where this machine's encoder would give
    other features than the one that the run was trained with, or where no post is left to predict.
    """
    if rows not in ("auto", "unlabelled", "all"):
        raise ValueError(f"rows must be auto, unlabelled or all; got {rows!r}")
    run = load_run(run_folder)
    unlabelled = [sample for sample in corpus.samples if sample.label is None]
    samples = unlabelled if rows == "unlabelled" or (rows == "auto" and unlabelled) else list(corpus.samples)
    if not samples:
        raise ValueError("every post is labelled; use --rows all to predict them too")
    chosen = replace(corpus, samples=samples)
    cache = cache or run.cache
    sources = [reopen(spec, run.cache, local_files_only=local_files_only) for spec in run.encoders]
    embed_corpus(chosen, sources, cache, replace(settings, tokens=run.config.tokens), progress=progress)
    return _predict(run, chosen, cache, settings.device)


def predict_post(
    run_folder: Path,
    *,
    image: Path | None,
    text: str | None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
) -> Predictions:
    """Predict one post from its file and its text; either may be missing. Nothing is cached."""
    if image is not None and not image.is_file():
        raise ValueError(f"there is no image file {str(image)!r}")
    if image is None and not text:
        raise ValueError("a post needs an image or a text; give --image FILE or --text TEXT")
    run = load_run(run_folder)
    post = Corpus(Path(), "post", [Sample(image.name if image else "post", image, text)])
    with TemporaryFolder() as folder:
        sources = [reopen(spec, run.cache, local_files_only=local_files_only) for spec in run.encoders]
        reports = embed_corpus(post, sources, Path(folder), replace(settings, tokens=run.config.tokens))
        bad = [report for report in reports if report.bad]
        if bad:
            reason = read_errors(Path(bad[0].path))[0].reason
            raise ValueError(f"the post's {bad[0].modality} cannot be embedded: {reason}")
        return _predict(run, post, Path(folder), settings.device)


@dataclass(frozen=True)
class Written:
    """Predictions and the files that they were written to."""

    predictions: Predictions
    files: list[Path]

    def to_dict(self) -> dict[str, object]:
        """The object of `--json`."""
        return self.predictions.to_dict() | {"files": [str(path) for path in self.files]}

    def to_text(self) -> str:
        """The number of posts of each class, and the files."""
        counts = Counter(self.predictions.labels)
        shares = ", ".join(f"{counts[label]} {label}" for label in self.predictions.classes)
        where = "\n".join(f"written: {path}" for path in self.files)
        blind = self.predictions.blind
        warning = f"\npredicted without input, as nothing could be read: {', '.join(blind)}" if blind else ""
        return f"{len(self.predictions.ids)} posts predicted: {shares}{warning}\n{where}"


def write_predictions(predictions: Predictions, folder: Path, *, course: bool) -> Written:
    """Write predictions.csv and, for the course layout, test_with_label.txt."""
    files = {"predictions.csv": predictions.to_csv()} | (
        {"test_with_label.txt": predictions.to_course()} if course else {}
    )
    for name, content in files.items():
        write_atomic(folder / name, content.encode())
    return Written(predictions, [folder / name for name in files])


def _predict(run: Run, corpus: Corpus, cache: Path, device: str) -> Predictions:
    table = load_run_features(run, corpus, cache)
    present = np.logical_or.reduce([side.present for side in table.sides.values()])
    blind = tuple(table.posts.ids[int(row)] for row in np.flatnonzero(~present))
    return Predictions(list(table.posts.ids), run.classes, run_probabilities(run, table, device), blind)
