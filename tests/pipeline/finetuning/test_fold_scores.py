"""A folder of encoders that were tuned fold by fold: each fold of `msa train-head` reads its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tunable_posts import WORDS, small_bert

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.sources import EncoderRequest
from msa.features.encoders.tuned import tuned_names
from msa.features.extraction.extract import extract
from msa.features.posts.samples import Corpus, Sample
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.config.tune_config import TuneConfig
from msa.pipeline.data.cached_features import find_spec, load_features
from msa.pipeline.data.join import join_posts
from msa.pipeline.data.split import load_or_make_folds
from msa.pipeline.evaluation.reevaluate import evaluate_run
from msa.pipeline.finetuning.finetune import finetune
from msa.pipeline.finetuning.request import TuneRequest
from msa.pipeline.predict import predict_corpus
from msa.pipeline.runs.run_config import read_settings
from msa.pipeline.runs.runs import load_run
from msa.pipeline.train_head import train_head
from msa.pipeline.training.folds import train_folds

LOCAL = EncoderOptions(local_files_only=True)
HARD = TuneConfig(epochs=20, batch_size=16, lr=5e-3, head_lr=5e-3, patience=0, metric="accuracy")
TRAINING = TrainConfig(epochs=30, batch_size=16, lr=1e-2)
HEAD = HeadConfig("text", hidden=16, dropout=0.0)


class Made(NamedTuple):
    corpus: Corpus
    cache: Path
    tuned: Path

    @property
    def data(self) -> DataConfig:
        return DataConfig(self.cache, ("none",), (str(self.tuned),), folds=3, device="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Random labels, and three encoders that know the rows they were tuned on by heart."""
    folder = tmp_path_factory.mktemp("made")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, 6, replace=False)) for _ in range(90)]
    labels = draw.permutation(["ab"[number % 2] for number in range(90)])
    corpus = Corpus(folder, "table", [Sample(f"p{n}", None, text, str(labels[n])) for n, text in enumerate(texts)])
    bert = small_bert(folder / "small-bert", layers=1)
    request = TuneRequest(EncoderRequest((), (str(bert),), LOCAL), HARD, cache=folder / "cache", folds=3, device="cpu")
    own = load_or_make_folds(join_posts(corpus)[1], folder / "cache" / "splits", folds=3, seed=0)
    known = [replace(fold, valid=fold.train[:20]) for fold in own]  # the epoch that is kept knows the training rows
    with pytest.MonkeyPatch.context() as patched:  # this fixture comes before that of conftest.py
        patched.setattr("msa.pipeline.finetuning.finetune.available_cores", lambda: 1)
        patched.setattr("msa.pipeline.finetuning.finetune.load_or_make_folds", lambda *args, **options: known)
        finetune(corpus, request, folder / "tuned")
    extract(corpus, EncoderRequest((), (str(folder / "tuned"),), LOCAL), folder / "cache")
    return Made(corpus, folder / "cache", folder / "tuned")


def test_a_folder_stands_for_its_encoders(made: Made) -> None:
    members = [str(made.tuned / f"tuned-fold{fold}") for fold in range(3)]
    assert tuned_names(str(made.tuned), "text") == members
    assert tuned_names(f"{made.tuned}@max", "text") == [f"{name}@max" for name in members]
    assert tuned_names(members[1], "text") == [members[1]]
    assert tuned_names("minilm", "text") == ["minilm"]
    with pytest.raises(ValueError, match="holds tuned encoders of text, none of image; pass it as --text"):
        tuned_names(str(made.tuned), "image")
    with pytest.raises(
        ValueError, match=r"holds one encoder for each of 3 folds, .* name one of them, as .*tuned-fold0"
    ):
        find_spec(made.cache, str(made.tuned), "text")


def test_the_score_over_the_folds_is_honest(made: Made, tmp_path: Path) -> None:
    """Chance on random labels, by the head and by its baselines, though each encoder knows two thirds of the rows."""
    trained = train_head(made.corpus, made.data, HEAD, TRAINING, runs=tmp_path / "runs", name="tuned")
    found = trained.evaluation
    assert (found.folds, found.rows) == (3, 90)
    assert abs(found.metrics["accuracy"]["mean"] - 0.5) < 0.17
    for system in ("linear", "svm"):
        assert abs(found.baselines[system]["accuracy"]["mean"] - 0.5) < 0.17
    specs = [find_spec(made.cache, str(made.tuned / f"tuned-fold{fold}"), "text") for fold in range(3)]
    table = load_features(made.corpus, made.cache, image=[], text=specs, tokens=False)
    folds = load_or_make_folds(table.posts, made.cache / "splits", folds=3, seed=0)
    leaking = train_folds(table, folds, HEAD, TRAINING)  # every fold reads all encoders
    assert np.mean([fold.metrics["accuracy"] for fold in leaking]) > 0.7
    single = replace(made.data, text=(str(made.tuned / "tuned-fold0"),))
    with pytest.raises(ValueError, match=r"has seen \d+ of the 30 test rows"):
        train_head(made.corpus, single, HEAD, TRAINING, runs=tmp_path / "runs")
    history = (trained.run / "history.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in history} == {"0", "1", "2"}
    again = evaluate_run(trained.run, made.corpus)
    assert again.reproduced == 1.0
    assert again.evaluation.metrics == found.metrics
    run = load_run(trained.run)
    assert [spec.name for spec in run.specs["text"]] == [f"tuned:tuned-fold{fold}" for fold in range(3)]
    fresh = Corpus(made.corpus.root, "table", [Sample("new", None, "w1 w2 w3", None)])
    predicted = predict_corpus(trained.run, fresh)
    assert predicted.probabilities.shape == (1, 2)
    with pytest.raises(ValueError, match="reads an encoder for each fold; give --image, --text"):
        read_settings(trained.run)


def test_what_one_encoder_per_fold_does_not_serve_is_refused(made: Made, tmp_path: Path) -> None:
    cases = [
        (HeadConfig("rnn"), made.data, "serve heads on pooled vectors alone; add --inputs pooled"),
        (replace(HEAD, ensemble_size=2), made.data, r"stop on validation rows .*leave --ensemble out"),
        (HEAD, replace(made.data, folds=4), "has encoders of 3 folds, and here are 4; give --folds 3"),
        (HEAD, replace(made.data, folds=None), "has encoders of 3 folds, and here are 1; give --folds 3"),
        (HEAD, replace(made.data, repeats=2), "has encoders of 3 folds, and here are 6"),
    ]
    for head, data, message in cases:
        with pytest.raises(ValueError, match=message):
            train_head(made.corpus, data, head, TRAINING, runs=tmp_path / "runs")
    with pytest.raises(ValueError, match=r"was tuned on stored split .* and has seen"):  # another seed, other folds
        train_head(made.corpus, made.data, HEAD, replace(TRAINING, seed=1), runs=tmp_path / "runs")
