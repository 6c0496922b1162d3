"""`msa predict`: predictions of a stored run for posts, on features of the same encoders that it was trained on."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.csv_text import class_columns, to_csv
from ..features.extraction.embed import embed_corpus
from ..features.extraction.plan import EncoderReport, notify_cut
from ..features.extraction.settings import ExtractSettings
from ..features.posts.samples import Corpus, Sample
from ..features.progress import keeping, stage
from ..features.store.durable import write_atomic
from ..features.store.errors import read_errors
from ..features.store.json_files import read_json, write_json
from ..features.store.temporary_folders import TemporaryFolder
from .data.cached_features import CachedFeatures
from .data.join import join_posts
from .data.prepare import check_encodable
from .metrics.probabilities import mean_probabilities
from .runs.folders import find_run
from .runs.made import describe_made
from .runs.run_encoders import check_imported, compute_of, run_sources
from .runs.run_predictions import load_run_features, run_logits
from .runs.runs import Run, cache_of, load_run, rounded
from .runs.seen_posts import read_seen_posts

NOTES = "predictions.json"
KNOWN = {"trained": "trained the heads", "tested": "tested them", "locked": "are locked for `msa test`"}


@dataclass(frozen=True)
class Predictions:
    """A run's predictions for n posts: ids, classes, probabilities (n, K), the mean over its folds, and `best` (n,).

    `best` are the numbers of the predicted classes: the most probable before the `temperatures` of the folds, empty if
    none are applied. `blind` are ids of posts of which nothing could be read, predicted without input; `known` counts
    the posts that the run was trained or tested on, and those locked for `msa test`; `made` is as from `describe_made`.
    """

    ids: list[str]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    best: NDArray[np.int64]
    temperatures: tuple[float, ...] = ()
    raw: bool = False
    blind: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The predicted class of each post."""
        return [self.classes[int(best)] for best in self.best]

    def of_row(self, row: int) -> Predictions:
        """The prediction of one of the posts."""
        one = slice(row, row + 1)
        return replace(self, ids=self.ids[one], probabilities=self.probabilities[one], best=self.best[one])

    @property
    def calibration(self) -> str:
        """Whether the probabilities are calibrated."""
        if not self.temperatures:
            return f"probabilities are not calibrated{'' if self.raw else ': the run has no temperature, train again'}"
        others = int((self.probabilities.argmax(1) != self.best).sum())
        mixed = f"; {others} labels are not the most probable after it, as folds disagree" if others else ""
        return f"probabilities are calibrated (temperature {np.mean(self.temperatures):.2f}){mixed}"

    def to_dict(self) -> dict[str, object]:
        """The object of `--json`."""
        return {
            "predictions": [
                {"id": name, "label": label, "probabilities": dict(zip(self.classes, rounded(row), strict=True))}
                for name, label, row in zip(self.ids, self.labels, self.probabilities, strict=True)
            ],
            "temperatures": list(self.temperatures),
            "blind": list(self.blind),
            "known": dict(self.known),
        }

    def to_text(self) -> str:
        """One line per post, its label, then a probability per class; then whether these are calibrated."""
        lines = zip(self.ids, self.labels, self.probabilities, strict=True)
        shown = [
            f"{name}: {label} ({', '.join(f'{c} {p:.3f}' for c, p in zip(self.classes, row, strict=True))})"
            for name, label, row in lines
        ]
        return "\n".join([*shown, self.calibration])

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
    raw: bool = False,
) -> Predictions:
    """Predict the posts of a corpus: `rows` is `unlabelled`, `all`, or `auto` (the unlabelled ones if there are any).

    Features that the cache lacks are extracted first. Probabilities are calibrated, unless `raw`. Raises ValueError
    where the run's cache is not there and no other one is given, where this machine's encoder would give other features
    than the one that the run was trained with, or where no post is left to predict.
    """
    chosen = choose_posts(corpus, rows)
    run = load_run(run_folder)
    place = cache_of(run, cache)
    check_imported(run, place)
    keeping(lambda: f"new embeddings are kept in {place}; no prediction was written")
    notify_cut(embed_corpus(chosen, run_sources(run, place, local_files_only), place, compute_of(run, settings)))
    table = load_run_features(run, chosen, place)
    stage("predicting")
    labelled = any(label is not None for label in table.posts.labels)
    seen = read_seen_posts(find_run(run_folder), place / "splits") if labelled else None
    known = seen.count(table.posts) if seen else {}
    made = describe_made(corpus, join_posts(corpus, place)[1])  # of all posts, whichever of them are predicted
    return replace(predict_table(run, table, settings.device, raw), known=known, made=made)


def choose_posts(corpus: Corpus, rows: str) -> Corpus:
    """The corpus with the posts to predict alone, as `predict_corpus` chooses them. Raises ValueError."""
    if rows not in ("auto", "unlabelled", "all"):
        raise ValueError(f"rows must be auto, unlabelled or all; got {rows!r}")
    unlabelled = [sample for sample in corpus.samples if sample.label is None]
    samples = unlabelled if rows == "unlabelled" or (rows == "auto" and unlabelled) else list(corpus.samples)
    if not samples:
        raise ValueError("every post is labelled; use --rows all to predict them too")
    check_encodable(corpus)
    return replace(corpus, samples=samples)


def predict_post(
    run_folder: Path,
    *,
    image: Path | None,
    text: str | None,
    cache: Path | None = None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
    raw: bool = False,
) -> Predictions:
    """Predict one post from its file and its text; either may be missing. Nothing is cached.

    `cache` knows how encoders were opened, as the run's own does. Raises ValueError as `predict_corpus`, for a file
    that is not there, for a blank text, and where no encoder of the run reads what is given.
    """
    sample = check_post(image, text)
    run = load_run(run_folder)
    post = Corpus(Path(), "post", [sample])
    with TemporaryFolder() as name:
        folder = Path(name)
        sources = run_sources(run, cache or run.cache, local_files_only)
        reports = embed_corpus(post, sources, folder, compute_of(run, settings))
        refuse_bad(reports)
        notify_cut(reports)
        found = predict_table(run, load_run_features(run, post, folder), settings.device, raw)
    if found.blind:
        names = ", ".join(spec.name for spec in run.encoders)
        raise ValueError(f"the run reads nothing of this post; its encoders are {names}; give the other part, too")
    return found


def check_post(image: Path | None, text: str | None) -> Sample:
    """One post given by its file and its text. Raises ValueError where there is neither, no such file, a blank text."""
    if image is not None and not image.is_file():
        raise ValueError(f"there is no image file {str(image)!r}; give one as --image FILE")
    if text is not None and is_blank(text):
        raise ValueError(f"--text is blank, got {text!r}; give a text, or --image FILE alone")
    if image is None and text is None:
        raise ValueError("a post needs an image or a text; give --image FILE or --text TEXT")
    return Sample(image.name if image else "post", image, text)


def refuse_bad(reports: Sequence[EncoderReport]) -> None:
    """Raise ValueError where a part of the only post could not be embedded."""
    bad = [report for report in reports if report.bad]
    if bad:
        reason = read_errors(Path(bad[0].path))[0].reason
        raise ValueError(f"the post's {bad[0].modality} cannot be embedded: {reason}")


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen: white space, control and format characters alone."""
    return all(one.isspace() or unicodedata.category(one) in ("Cc", "Cf") for one in text)


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
        known = ", ".join(f"{count} {KNOWN[name]}" for name, count in self.predictions.known.items() if count)
        seen = f"\nof these posts {known}: accuracy on them is no estimate for new posts" if known else ""
        counted = f"{len(self.predictions.ids)} posts predicted: {shares}"
        return f"{counted}{warning}{seen}\n{self.predictions.calibration}\n{where}"


def write_predictions(predictions: Predictions, folder: Path, *, course: bool) -> Written:
    """Write predictions.csv, for the course layout test_with_label.txt, and predictions.json: how they were made.

    Raises ValueError where the folder holds the predictions of other posts.
    """
    data = predictions.made.get("data", {})
    if (known := read_predicted(folder)) not in (None, data):
        known = known or {}
        raise ValueError(
            f"{folder} holds the predictions of other posts ({known.get('posts')} of {known.get('name')!r}); give "
            "another --out, or leave it out"
        )
    files = {"predictions.csv": predictions.to_csv()} | (
        {"test_with_label.txt": predictions.to_course()} if course else {}
    )
    for name, content in files.items():
        write_atomic(folder / name, content.encode())
    write_json(folder / NOTES, {"made": dict(predictions.made)})
    return Written(predictions, [folder / name for name in files])


def folder_of(predictions: Predictions, parent: Path) -> Path:
    """The folder in `parent` that bears the name of the data, with -2, -3 … where other posts have that one."""
    data = predictions.made["data"]
    names = (data["name"] if number == 1 else f"{data['name']}-{number}" for number in count(1))
    return next(path for name in names if read_predicted(path := parent / name) in (None, data))


def read_predicted(folder: Path) -> dict[str, Any] | None:
    """Name, digest and number of the posts whose predictions a folder holds; None where it holds none."""
    if not (folder / NOTES).is_file():
        return None
    made = read_json(folder / NOTES, "notes of predictions", "delete it", made=dict)["made"]
    return dict(made.get("data", {}))


def predict_table(run: Run, table: CachedFeatures, device: str, raw: bool) -> Predictions:
    """Predict every post of a table of `load_run_features`; `raw` leaves out the temperatures."""
    present = np.logical_or.reduce([side.present for side in table.sides.values()])
    blind = tuple(table.posts.ids[int(row)] for row in np.flatnonzero(~present))
    logits, temperatures = run_logits(run, table, device), () if raw else run.temperatures
    best = mean_probabilities(logits).argmax(1)
    probabilities = mean_probabilities(logits, temperatures)
    return Predictions(list(table.posts.ids), run.classes, probabilities, best, temperatures, raw, blind)
