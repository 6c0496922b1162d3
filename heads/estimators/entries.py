"""The classifiers that can be a head: a fixed list, so that no name of a user is ever imported."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

Option = int | float | str
SCALES = ("standard", "none")


@dataclass(frozen=True)
class Entry:
    """One classifier: where it is imported from, its options with defaults, and what is not an option.

    `meaning` translates values of an option that has two types in scikit-learn: a number here, "scale" or None there.
    `pca` is the default number of principal components of each modality; 0: none. `private` are classes of the
    library, beside those that skops knows, that a fitted one consists of. `adapter` is the class of this folder that
    stands for a classifier whose fitted state is stored as tensors.
    """

    path: str
    summary: str
    paper: str
    options: Mapping[str, Option]
    pca: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    meaning: Mapping[str, Mapping[Option, Any]] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    adapter: str = ""

    @property
    def kind(self) -> type:
        """The class of the classifier."""
        module, _, name = (self.adapter or self.path).rpartition(".")
        kind: type = getattr(import_module(f".{module}" if self.adapter else module, __package__), name)
        return kind

    def new(self, seed: int, options: Mapping[str, Option]) -> Any:
        """A classifier that is not fitted, with these options in place of the defaults.

        Raises ValueError where a value is out of range, ModuleNotFoundError where a package is missing.
        """
        given = {
            name: NONE.get(value, value) if name not in self.meaning else self.meaning[name].get(value, value)
            for name, value in {**self.options, **options}.items()
        }
        if "random_state" in inspect.signature(self.kind).parameters:
            given["random_state"] = seed
        model = self.kind(**self.fixed, **given)
        try:
            model._validate_params()
        except ValueError as error:
            usual = ", ".join(f"{name}={value}" for name, value in self.options.items())
            raise ValueError(f"{str(error).rstrip('.')}; the defaults are {usual}") from error
        if self.adapter:
            model.require()
        return model


NONE: dict[Option, Any] = {"none": None}
BALANCED: dict[str, Option] = {"class_weight": "none"}
UNLIMITED: dict[str, dict[Option, Any]] = {"max_depth": {0: None}}
TREES: dict[str, Option] = {"n_estimators": 300, "max_depth": 0, "min_samples_leaf": 1, "max_features": "sqrt"}

ESTIMATORS: dict[str, Entry] = {
    entry.path: entry
    for entry in (
        Entry(
            "sklearn.svm.SVC",
            "a support vector machine",
            "Cortes 1995",
            {"C": 1.0, "kernel": "rbf", "gamma": 0.0, "degree": 3, **BALANCED},
            pca=128,
            meaning={"gamma": {0.0: "scale"}},
        ),
        Entry(
            "sklearn.linear_model.LogisticRegression",
            "logistic regression",
            "Cox 1958",
            {"C": 0.0003, "max_iter": 1000, **BALANCED},
        ),
        Entry(
            "sklearn.neighbors.KNeighborsClassifier",
            "a vote of the nearest training posts",
            "Cover 1967",
            {"n_neighbors": 30, "weights": "distance", "metric": "cosine"},
            pca=128,
            fixed={"algorithm": "brute"},
        ),
        Entry(
            "sklearn.ensemble.HistGradientBoostingClassifier",
            "gradient boosting of trees on histograms",
            "Friedman 2001",
            {
                "learning_rate": 0.1,
                "max_iter": 100,
                "max_leaf_nodes": 31,
                "max_depth": 0,
                "l2_regularization": 0.0,
                **BALANCED,
            },
            pca=32,
            fixed={"early_stopping": False},
            meaning=UNLIMITED,
            private=("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
        ),
        Entry(
            "sklearn.ensemble.RandomForestClassifier",
            "a random forest",
            "Breiman 2001",
            {**TREES, **BALANCED},
            pca=32,
            meaning=UNLIMITED,
            private=("sklearn.tree._tree.Tree",),
        ),
        Entry(
            "sklearn.ensemble.ExtraTreesClassifier",
            "extremely randomized trees",
            "Geurts 2006",
            {**TREES, **BALANCED},
            pca=32,
            meaning=UNLIMITED,
            private=("sklearn.tree._tree.Tree",),
        ),
        Entry(
            "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
            "linear discriminants, covariance shrunk by Ledoit and Wolf",
            "Fisher 1936",
            {"shrinkage": "auto"},
            fixed={"solver": "lsqr"},
        ),
        Entry(
            "sklearn.naive_bayes.GaussianNB",
            "Gaussian naive Bayes",
            "Duda 1973",
            {"var_smoothing": 1e-9},
            pca=32,
        ),
        Entry(
            "pytabkit.RealMLP",
            "a perceptron on periodic features of each column",
            "Holzmüller 2024",
            {
                "n_epochs": 64,
                "hidden_width": 256,
                "n_hidden_layers": 3,
                "n_ens": 1,
                "batch_size": 256,
                "lr": 0.04,
                "wd": 0.02,
                "plr_sigma": 0.1,
                "p_drop": 0.15,
                "ls_eps": 0.1,
                "val_fraction": 0.2,
            },
            pca=64,
            adapter="networks.RealMLP",
        ),
        Entry(
            "pytabkit.TabM",
            "many perceptrons that share most of their weights",
            "Gorishniy 2025",
            {
                "n_epochs": 256,
                "patience": 16,
                "tabm_k": 32,
                "d_block": 128,
                "n_blocks": 3,
                "batch_size": 256,
                "lr": 0.002,
                "weight_decay": 0.0,
                "dropout": 0.1,
                "val_fraction": 0.2,
            },
            pca=64,
            adapter="networks.TabM",
        ),
        Entry(
            "tabicl.TabICLClassifier",
            "a pretrained transformer that reads the training rows",
            "Qu 2025",
            {"n_estimators": 8, "softmax_temperature": 0.9, "kv_cache": "repr", "model_path": ""},
            pca=32,
            meaning={"kv_cache": {"none": False}},
            adapter="in_context.TabICL",
        ),
    )
}
