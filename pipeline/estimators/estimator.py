"""A fusion head as a scikit-learn classifier: fit, predict, clone, search, cross-validate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...features.encoders.runtime import pick_device
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.leaks import refuse_seen
from ..data.split import Fold, split_validation
from ..metrics.probabilities import mean_probabilities
from ..runs.run_predictions import run_logits
from ..runs.runs import Run
from ..training.folds import train_folds
from .feature_table import FeatureTable, describe

POSTS = ("patches", "views", "average_views")  # settings of how features are loaded; a table is loaded already


def _default(field: Field[Any]) -> Any:
    """A field's default, None in place of a factory: scikit-learn wants defaults that nobody can change."""
    return None if field.default is MISSING else field.default


HEAD = {field.name: _default(field) for field in fields(HeadConfig) if field.name not in POSTS}
TRAINING = {field.name: _default(field) for field in fields(TrainConfig) if field.name != "seed"}
DEFAULTS = HEAD | TRAINING | {"random_state": 0, "device": "auto"}


class FusionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fusion head as a scikit-learn classifier.

    Parameters are those of HeadConfig and TrainConfig by name, with their defaults, `random_state` for the seed, and
    `device`. The features X are a FeatureTable, or one array (posts, columns), which counts as the text.

    After `fit`: `classes_` (K,) as in y, `n_features_in_`, `widths_` per modality, `run_` (the heads and their
    inputs), `histories_` (epochs per head). A tenth of the rows given to `fit` are validation rows for early
    stopping. Same random_state and thread count, same result; None draws a seed from NumPy's global state.

    Rows that an encoder was tuned on may be fitted, but `predict` refuses them: their score would mean nothing.
    """

    def __init__(self, fusion: str = HeadConfig.fusion, **settings: Any) -> None:
        if unknown := sorted(settings.keys() - DEFAULTS.keys()):
            raise TypeError(f"FusionClassifier has no parameter {unknown[0]!r}; it has {', '.join(DEFAULTS)}")
        for name, value in (DEFAULTS | settings | {"fusion": fusion}).items():
            setattr(self, name, value)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # A head begins with a LayerNorm, made for the wide vectors of encoders: of two columns it leaves their order.
        tags.classifier_tags.poor_score = True
        return tags

    def fit(self, X: FeatureTable | ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> FusionClassifier:  # noqa: N803
        """Train on X (N posts) and labels y (N,); rows of one of the `groups` (N,) all train, or all validate.

        Raises ValueError on settings out of range, arrays that do not fit, or a class of a single row.
        """
        config, training = self._configs()
        table, truth = self._seen(X, y)
        config = _with_inputs(config, table)
        self.classes_, numbers = np.unique(truth, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a classifier needs two classes or more, got {self.classes_.tolist()!r}; label more posts"
            )
        names = [str(name) for name in self.classes_.tolist()]
        tied = np.arange(len(table)) if groups is None else np.unique(column_or_1d(groups), return_inverse=True)[1]
        check_consistent_length(truth, tied)
        joined = table.joined([names[number] for number in numbers], tied, names, tokens=config.tokens)
        train, valid = split_validation(joined.posts, np.arange(len(table)), seed=training.seed)
        # The caller keeps the test rows, so the validation rows take their place here.
        fold = Fold(train, valid, valid)
        result = train_folds(joined, [fold], config, training, device=pick_device(self.device))[0]
        heads = [head.cpu() for head in result.heads]
        self.run_ = Run(config, tuple(names), {}, Path(), heads, [result.reductions])
        self.widths_, self.histories_ = table.widths, result.histories
        return self

    def predict(self, X: FeatureTable | ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The most probable class of each row (N,)."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: FeatureTable | ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Probabilities (N, K), in the order of `classes_`; scikit-learn's CalibratedClassifierCV calibrates them."""
        check_is_fitted(self)
        table = self._like(X)
        unlabelled: list[None] = [None] * len(table)
        joined = table.joined(unlabelled, np.arange(len(table)), self.run_.classes, tokens=self.run_.config.tokens)
        probabilities = mean_probabilities(run_logits(self.run_, joined, pick_device(self.device)))
        for head in self.run_.heads:  # so that it can be unpickled where there is no such device
            head.cpu()
        return probabilities

    def decision_function(self, X: FeatureTable | ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Log-probabilities (N, K); of two classes, the log-odds (N,) of the second."""
        logs = np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))
        return np.asarray(logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs)

    def _configs(self) -> tuple[HeadConfig, TrainConfig]:
        given = self.get_params()
        options = given.pop("options")
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"options must be a dict of the head's own options, got {options!r}")
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        head = {name: given[name] for name in HEAD if name != "options"}
        training = {name: given[name] for name in TRAINING}
        return HeadConfig(**head, options=dict(options or {})), TrainConfig(**training, seed=int(seed))

    def _seen(self, X: FeatureTable | ArrayLike, y: ArrayLike) -> tuple[FeatureTable, NDArray[Any]]:  # noqa: N803
        """X as a table and y as a row of labels; later tables must be like this one."""
        if isinstance(X, FeatureTable):
            table, labels = X, column_or_1d(y, warn=True)
            check_consistent_length(table, labels)
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = table.shape[1]
        else:
            given, labels = validate_data(self, X, y, ensure_min_samples=2, ensure_min_features=2)
            table, labels = FeatureTable(text=given), column_or_1d(labels, warn=True)
        if blank := sum(label is None for label in labels.tolist()):
            raise ValueError(f"y lacks the labels of {blank} rows; leave unlabelled rows out")
        check_classification_targets(labels)
        return table, labels

    def _like(self, X: FeatureTable | ArrayLike) -> FeatureTable:  # noqa: N803
        """X as a table; ValueError where it differs from the one of `fit`."""
        table = X if isinstance(X, FeatureTable) else FeatureTable(text=validate_data(self, X, reset=False))
        if table.widths != self.widths_:
            raise ValueError(
                f"X is {table!r}, but `fit` saw {describe(self.widths_)}; give the same columns and tokens"
            )
        refuse_seen(table.image, table.text)  # predictions may be scored
        return table


# scikit-learn's get_params reads the signature: every setting of heads and training is a parameter here too.
FusionClassifier.__init__.__signature__ = Signature(  # type: ignore[attr-defined]
    [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
    + [
        Parameter(name, Parameter.KEYWORD_ONLY if number else Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for number, (name, default) in enumerate(DEFAULTS.items())
    ]
)


def _with_inputs(config: HeadConfig, table: FeatureTable) -> HeadConfig:
    """The same with `inputs` decided: tokens where the head reads them and the table has them."""
    if any(tokens for _, tokens in table.widths.values()):
        return config
    if config.inputs == "tokens":
        raise ValueError(f"inputs='tokens' needs tokens, and X is {table!r}; give text_tokens or inputs='pooled'")
    return replace(config, inputs="pooled")
