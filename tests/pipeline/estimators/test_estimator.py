"""FusionClassifier is a scikit-learn classifier, and X is a table that slices like an array."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import msa
from msa.features.encoders.encoder import Encoded, Encoder, Source
from msa.features.encoders.tuned import TunedRecord
from msa.features.posts.layouts import read_corpus
from msa.features.spec import EncoderSpec
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.join import join_posts
from msa.pipeline.data.seen import Seen
from msa.pipeline.data.split import Fold
from msa.pipeline.data.test_posts import mark_test_posts
from msa.pipeline.estimators import estimator
from msa.pipeline.estimators.feature_table import FeatureTable
from msa.pipeline.training.folds import train_folds

SMALL: dict[str, Any] = {"hidden": 8, "epochs": 2, "device": "cpu"}
# Checks that its inputs do not allow, by name, with the reason. None: what differs is the tag `poor_score`.
EXCEPTIONS: dict[str, str] = {}


@parametrize_with_checks(
    [estimator.FusionClassifier("gated", **SMALL), estimator.FusionClassifier("text", **SMALL)],
    expected_failed_checks=lambda _: EXCEPTIONS,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_keeps_the_conventions_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def posts(rows: int = 90) -> tuple[FeatureTable, NDArray[np.str_]]:
    """Three classes: the image tells one, the text another. Some posts lack either, tokens differ in number."""
    draw = np.random.default_rng(0)
    classes = np.arange(rows) % 3
    image, text = draw.normal(size=(rows, 12)), draw.normal(size=(rows, 10))
    image[classes == 0, :3] += 3
    text[classes == 1, :3] += 3
    image[5::30] = np.nan
    text_mask = np.arange(4) < draw.integers(1, 5, (rows, 1))
    text_mask[7::30] = False
    tokens = draw.normal(size=(rows, 4, 10)) + text[:, None]
    table = FeatureTable(
        image, text, image_tokens=np.repeat(image[:, None], 2, 1), text_tokens=tokens, text_mask=text_mask
    )
    return table, np.array(["bad", "good", "so-so"])[classes]


def classifier(fusion: str = "gated", **settings: Any) -> estimator.FusionClassifier:
    return estimator.FusionClassifier(
        fusion, **SMALL | {"epochs": 30, "lr": 1e-2, "hidden": 16, "dropout": 0.2} | settings
    )


@pytest.mark.parametrize("fusion", ["gated", "attention"])
def test_it_learns_both_modalities_and_speaks_in_the_labels_given(fusion: str) -> None:
    x, y = posts()
    fitted = classifier(fusion).fit(x, y)
    assert fitted.classes_.tolist() == ["bad", "good", "so-so"]
    assert fitted.n_features_in_ == 22
    assert fitted.run_.config.tokens is (fusion == "attention")
    assert fitted.score(x, y) > 0.7
    probabilities = fitted.predict_proba(x)
    assert probabilities.shape == (90, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (fitted.predict(x) == fitted.classes_[probabilities.argmax(1)]).all()
    assert (fitted.decision_function(x).argmax(1) == probabilities.argmax(1)).all()
    order = np.random.default_rng(1).permutation(90)
    np.testing.assert_allclose(fitted.predict_proba(x[order]), probabilities[order], atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(x[3]), probabilities[3:4], atol=1e-5)
    assert fitted.predict_proba(x[:0]).shape == (0, 3)


def test_the_same_state_gives_the_same_result_and_survives_pickle_and_clone() -> None:
    x, y = posts()
    one = classifier().fit(x, y)
    np.testing.assert_array_equal(one.predict_proba(x), clone(one).fit(x, y).predict_proba(x))
    np.testing.assert_array_equal(one.predict_proba(x), pickle.loads(pickle.dumps(one)).predict_proba(x))
    other = clone(one).set_params(random_state=1).fit(x, y)
    assert not np.array_equal(one.predict_proba(x), other.predict_proba(x))
    drawn = [classifier(random_state=np.random.RandomState(3)).fit(x, y).predict_proba(x) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)


def test_it_trains_as_train_head_does() -> None:
    x, y = posts()
    fitted = classifier(random_state=4, dropout=0.2).fit(x, y)
    table = x.joined(y.tolist(), np.arange(90), ("bad", "good", "so-so"), tokens=False)
    train, valid = estimator.split_validation(table.posts, np.arange(90), seed=4)
    config = HeadConfig("gated", hidden=16, dropout=0.2)
    result = train_folds(table, [Fold(train, valid, np.arange(90))], config, TrainConfig(epochs=30, lr=1e-2, seed=4))[0]
    assert (fitted.predict(x) == fitted.classes_[result.logits.argmax(1)]).all()
    assert not np.intersect1d(train, valid).size
    assert len(valid) == 9


def test_every_setting_of_a_training_is_a_parameter() -> None:
    parameters = estimator.FusionClassifier().get_params()
    names = {field.name for field in (*fields(HeadConfig), *fields(TrainConfig))}
    assert parameters.keys() == names - {*estimator.POSTS, "seed"} | {"random_state", "device"}
    assert len(parameters) == len(estimator.HEAD) + len(estimator.TRAINING) + 2  # no name is both
    assert parameters["lr"] == TrainConfig().lr
    assert parameters["hidden"] == HeadConfig().hidden
    chosen = classifier("weighted", label_smoothing=0.1, token_width=None, options={"weights": "fixed"})
    head, training = chosen._configs()
    assert (head.fusion, head.token_width, head.options) == ("weighted", None, {"weights": "fixed"})
    assert (training.label_smoothing, training.epochs) == (0.1, 30)


def test_searches_pipelines_and_splitters_take_it() -> None:
    x, y = posts()
    scores = cross_val_score(classifier(), x, y, cv=3)
    assert scores.mean() > 0.7
    search = GridSearchCV(classifier(), {"epochs": [1, 30], "fusion": ["gated"]}, cv=3).fit(x, y)
    assert search.best_params_["epochs"] == 30
    seen_rows, new_rows, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y)
    assert (len(seen_rows), len(new_rows)) == (67, 23)
    piped = make_pipeline(FunctionTransformer(lambda table: table), classifier()).fit(seen_rows, y_train)
    assert piped.score(new_rows, y_test) > 0.6
    flat = np.asarray(x)
    scaled = make_pipeline(SimpleImputer(), StandardScaler(), classifier("text")).fit(flat, y)
    assert scaled.score(flat, y) > 0.7
    assert make_pipeline(SimpleImputer(), LogisticRegression()).fit(x, y).score(x, y) > 0.7


def test_groups_stay_on_one_side_of_the_validation_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = posts()
    groups = np.arange(90) // 9  # nine rows, three of each class
    seen = []

    def spy(table: Any, folds: list[Fold], *rest: Any, **more: Any) -> Any:
        seen.append((table.posts.groups, folds[0]))
        return train_folds(table, folds, *rest, **more)

    monkeypatch.setattr(estimator, "train_folds", spy)
    classifier().fit(x, y, groups=groups.astype(str))
    for tied, fold in seen:
        assert not np.intersect1d(tied[fold.train], tied[fold.valid]).size
        assert set(np.unique(tied, return_counts=True)[1]) == {9}
    seen.clear()
    cross_val_score(classifier(), x, y, groups=groups, cv=GroupKFold(3), params={"groups": groups})
    assert len(seen) == 3
    assert all(not np.intersect1d(tied[fold.train], tied[fold.valid]).size for tied, fold in seen)


def test_groups_that_cannot_be_split_are_refused() -> None:
    x, y = posts()
    with pytest.raises(
        ValueError, match="90 posts form 1 groups that share content, the largest of 90; too few for 2 parts"
    ):
        classifier().fit(x, y, groups=np.zeros(90))


def test_missing_modalities_are_those_of_nan_and_of_the_masks() -> None:
    x, y = posts()
    assert x.image is not None
    assert x.text is not None
    assert np.flatnonzero(~x.image.present).tolist() == [5, 35, 65]
    assert np.flatnonzero(~x.text.present).tolist() == [7, 37, 67]
    flat = np.asarray(x)
    assert flat.shape == x.shape == (90, 22)
    assert np.flatnonzero(np.isnan(flat[:, 0])).tolist() == [5, 35, 65]
    masked = FeatureTable(np.ones((3, 4)), image_mask=[True, False, True], image_tokens=np.ones((3, 2, 4), np.float16))
    assert masked.image is not None
    assert masked.image.tokens is not None
    assert masked.image.present.tolist() == [True, False, True]
    assert masked.image.tokens.lengths.tolist() == [2, 0, 2]
    assert masked.image.tokens.values.dtype == np.float16
    poisoned = np.array(x.image.pooled)
    poisoned[5::30] = 1e6
    present = x.image.present
    plain = FeatureTable(x.image.pooled, x.text.pooled, image_mask=present, text_mask=x.text.present)
    dirty = FeatureTable(poisoned, x.text.pooled, image_mask=present, text_mask=x.text.present)
    fitted = classifier().fit(plain, y)
    np.testing.assert_array_equal(fitted.predict_proba(plain), fitted.predict_proba(dirty))
    assert np.isfinite(fitted.predict_proba(plain[[5, 7]])).all()


def test_rows_of_an_encoders_tuning_train_but_are_never_predicted() -> None:
    x, y = posts()
    assert x.text is not None
    known = np.arange(90) < 30
    record = TunedRecord("bert", "text", "0" * 16, None, 0, 0, ("bad", "good", "so-so"), (), ())
    seen = Seen(x.text.specs[0], record, known, np.zeros(90, bool))
    tuned = FeatureTable.of(x.image, replace(x.text, seen=(seen,)))
    fitted = classifier(epochs=1).fit(tuned[known], y[known])
    assert len(fitted.predict(tuned[~known])) == 60
    with pytest.raises(ValueError, match="has seen 1 of these 2 rows, so their score would mean nothing"):
        fitted.predict(tuned[29:31])
    with pytest.raises(ValueError, match="has seen 30 of these 30 rows"):
        cross_val_score(classifier(epochs=1), tuned, y, cv=3, error_score="raise")


class Letters(Encoder):
    """A text encoder of four columns: a token per word, counting its letters."""

    specs = (EncoderSpec("letters", "text", "import", "fake", "sha256:0", "last", "mean", "{}", 4, "float16"),)

    def preprocess(self, item: str, key: str = "") -> list[str]:
        return item.split()

    def length(self, prepared: list[str]) -> int:
        return len(prepared)

    def encode(self, batch: Any) -> tuple[Encoded, ...]:
        tokens = [np.array([[len(w), w.count("a"), w.count("b"), 1] for w in words], np.float16) for words in batch]
        return (Encoded(np.stack([item.mean(0) for item in tokens]).astype(np.float32), tokens),)


def test_features_come_from_a_cache_without_the_locked_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["text,label,split"] + [f"post {n} says {'ab'[n % 2] * 3},{'ab'[n % 2]},train" for n in range(12)]
    lines += ["a test post,a,test", "a test post,b,train", "nobody knows,,", "a test post,,"]
    (tmp_path / "posts.csv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(
        "msa.features.encoders.sources.open_encoder", lambda *_: Source(Letters.specs, lambda _: Letters())
    )
    given: dict[str, Any] = {"image": None, "text": "letters", "cache": tmp_path / "cache"}
    extraction = msa.extract(tmp_path / "posts.csv", **given)
    assert (extraction.rows, extraction.encoders[0].encoded) == (16, 14)
    loaded = msa.load_features(tmp_path / "posts.csv", **given, tokens=True)
    assert loaded.y is not None
    assert loaded.y.tolist() == ["a", "b"] * 6
    assert loaded.X.widths == {"text": (4, True)}
    assert len(set(loaded.groups.tolist())) == len(set(loaded.ids.tolist())) == 12
    classifier("text", token_width=None).fit(loaded.X, loaded.y, groups=loaded.groups)
    unknown = msa.load_features(tmp_path / "posts.csv", **given, rows="unlabelled")
    assert (len(unknown.X), unknown.y) == (1, None)
    assert unknown.X.widths == {"text": (4, False)}
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join(lines[:13]), encoding="utf-8")
    mark_test_posts(join_posts(read_corpus(plain))[1], tmp_path / "cache/splits", share=0.5)
    assert len(msa.load_features(plain, **given).ids) == 6
    with pytest.raises(ValueError, match="rows must be labelled or unlabelled, got 'all'"):
        msa.load_features(tmp_path / "posts.csv", **given, rows="all")
    with pytest.raises(ValueError, match="no text features of 'minilm'"):
        msa.load_features(tmp_path / "posts.csv", **given | {"text": "minilm"})
    for function in (msa.extract, msa.load_features):
        with pytest.raises(ValueError, match="no such folder: 'nowhere'"):
            function(tmp_path / "posts.csv", **given, images="nowhere")


def test_what_cannot_be_fitted_is_refused_in_one_line() -> None:
    x, y = posts()
    with pytest.raises(NotFittedError):
        classifier().predict(x)
    with pytest.raises(TypeError, match="no parameter 'hiden'; it has fusion, "):
        classifier(hiden=3)
    for wanted, chosen in {
        "unknown fusion head 'gatd'; did you mean gated": {"fusion": "gatd"},
        "lr must be above 0, got -1": {"lr": -1},
        "options must be a dict": {"options": 3},
    }.items():
        with pytest.raises(ValueError, match=wanted):
            classifier(**chosen).fit(x, y)
    flat = FeatureTable(text=np.asarray(x)[:, 12:])
    with pytest.raises(ValueError, match="inputs='tokens' needs tokens"):
        classifier("attention", inputs="tokens").fit(flat, y)
    assert classifier("attention", epochs=1).fit(flat, y).run_.config.inputs == "pooled"
    with pytest.raises(ValueError, match="y lacks the labels of 1 rows"):
        classifier().fit(x, np.array([None, *y[1:]], object))
    with pytest.raises(ValueError, match="a classifier needs two classes or more, got"):
        classifier().fit(x, ["a"] * 90)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(x, y[1:])
    fitted = classifier(epochs=1).fit(x, y)
    with pytest.raises(ValueError, match="but `fit` saw image 12 with tokens, text 10 with tokens; give the same"):
        fitted.predict(flat)


def test_of_wide_arrays_it_learns_what_the_labels_say() -> None:
    x, y = make_blobs(n_samples=200, n_features=32, centers=4, cluster_std=6, random_state=0)
    assert cross_val_score(classifier("text"), x, y, cv=3).mean() > 0.9
