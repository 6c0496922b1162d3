"""Stored classifiers: nothing but the classes of the entry is built, and no index leads outside of an array."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import skops.io
from estimator_inputs import small_options
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from msa.heads.estimators.entries import ESTIMATORS
from msa.heads.estimators.storage import from_bytes, to_bytes

FOREST, BOOSTING = "sklearn.ensemble.RandomForestClassifier", "sklearn.ensemble.HistGradientBoostingClassifier"
NETWORKS = [path for path, entry in ESTIMATORS.items() if entry.adapter]
X, Y = np.random.default_rng(0).normal(size=(80, 4)), np.arange(80) % 3


def fit(path: str) -> Any:
    return ESTIMATORS[path].new(0, small_options(f"estimator:{path}")).fit(X, Y)


def load(path: str, stored: np.ndarray[Any, Any], *, width: int = 4, classes: int = 3) -> Any:
    template = ESTIMATORS[path].new(9, small_options(f"estimator:{path}"))
    return from_bytes(ESTIMATORS[path], template, stored, width=width, classes=classes)


@pytest.mark.parametrize("path", list(ESTIMATORS))
def test_a_classifier_predicts_as_before(path: str) -> None:
    model = fit(path)
    loaded = load(path, to_bytes(model))
    for call in ("decision_function", "predict_proba"):
        if hasattr(model, call):
            np.testing.assert_allclose(getattr(loaded, call)(X), getattr(model, call)(X), atol=1e-12)


@pytest.mark.parametrize("path", NETWORKS)
def test_tensors_of_another_classifier_are_refused(path: str) -> None:
    refused = rf"no fitted {re.escape(path)} is stored here"
    stored = safetensors.torch.load(to_bytes(fit(path)).tobytes())
    for name, tensor in stored.items():
        others = [{key: value for key, value in stored.items() if key != name}]
        if tensor.ndim and name not in ("classes", "labels"):
            others.append(stored | {name: tensor[:-1].clone()})
        for other in others:
            with pytest.raises(ValueError, match=refused):
                load(path, np.frombuffer(safetensors.torch.save(other), np.uint8))
    for wrong in ({"width": 5}, {"classes": 2}):
        with pytest.raises(ValueError, match=refused):
            load(path, to_bytes(fit(path)), **wrong)
    with pytest.raises(ValueError, match=refused):
        load(path, np.frombuffer(pickle.dumps(stored), np.uint8))


class Command:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/ran",)


@pytest.mark.parametrize("other", [make_pipeline(SVC()), RandomForestClassifier(), Command(), {"a": 1}])
def test_other_objects_are_refused(other: Any) -> None:
    with pytest.raises(ValueError, match=r"no fitted sklearn\.svm\.SVC is stored here"):
        load("sklearn.svm.SVC", np.frombuffer(skops.io.dumps(other), np.uint8))


def test_a_changed_class_in_the_file_is_refused() -> None:
    before = zipfile.ZipFile(io.BytesIO(to_bytes(fit("sklearn.svm.SVC")).tobytes()))
    schema = json.loads(before.read("schema.json"))
    schema["content"]["content"]["C"] = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}
    schema["content"]["content"]["C"] |= {"__id__": 1, "content": {"module_path": "os", "function": "system"}}
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            after.writestr(name, json.dumps(schema) if name == "schema.json" else before.read(name))
    with pytest.raises(ValueError, match="Untrusted types"):
        load("sklearn.svm.SVC", np.frombuffer(changed.getvalue(), np.uint8))


def test_a_classifier_of_other_columns_or_classes_is_refused() -> None:
    stored = to_bytes(fit(FOREST))
    for wrong in ({"width": 5}, {"classes": 2}):
        with pytest.raises(ValueError, match="reads 4 columns"):
            load(FOREST, stored, **wrong)


def set_nodes(model: RandomForestClassifier, **changed: int) -> None:
    """Change the first node of the first tree."""
    tree = model.estimators_[0].tree_
    state = tree.__getstate__()
    for name, value in changed.items():
        state["nodes"][name][0] = value
    tree.__setstate__(state)


@pytest.mark.parametrize("changed", [{"left_child": 10**6}, {"right_child": 0}, {"feature": 4}, {"feature": -3}])
def test_nodes_that_point_outside_of_a_forest_are_refused(changed: dict[str, int]) -> None:
    model = fit(FOREST)
    set_nodes(model, **changed)
    with pytest.raises(ValueError, match="its trees"):
        load(FOREST, to_bytes(model))


@pytest.mark.parametrize("changed", [{"left": 10**6}, {"right": 0}, {"feature_idx": 99}, {"is_categorical": 1}])
def test_nodes_that_point_outside_of_boosted_trees_are_refused(changed: dict[str, int]) -> None:
    model: HistGradientBoostingClassifier = fit(BOOSTING)
    for name, value in changed.items():
        model._predictors[0][0].nodes[name][0] = value
    with pytest.raises(ValueError, match="its trees"):
        load(BOOSTING, to_bytes(model))


def test_support_vectors_that_do_not_fit_are_refused() -> None:
    model = fit("sklearn.svm.SVC")
    model._n_support = model._n_support + 1000
    with pytest.raises(ValueError, match="support vectors do not fit"):
        load("sklearn.svm.SVC", to_bytes(model))
