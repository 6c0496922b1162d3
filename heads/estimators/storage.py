"""Fitted classifiers as bytes: tensors of an adapter, otherwise skops, which builds objects of known classes alone.

Neither unpickles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray

from .entries import Entry

UNREADABLE = (
    *(AttributeError, LookupError, TypeError, ValueError, RuntimeError, OSError, zipfile.BadZipFile, ImportError),
    safetensors.SafetensorError,
)


def to_bytes(model: Any) -> NDArray[np.uint8]:
    """The model as bytes (n,)."""
    import skops.io

    stored = safetensors.torch.save(model.tensors()) if hasattr(model, "tensors") else skops.io.dumps(model)
    return np.frombuffer(stored, np.uint8).copy()


def from_bytes(entry: Entry, template: Any, stored: NDArray[np.uint8], *, width: int, classes: int) -> Any:
    """The model of an entry that `to_bytes` wrote: as `template`, which is not fitted, on `width` columns.

    Raises ValueError where the bytes hold another class or other parameters, an object that such a model does not
    consist of, or indices out of range, which scikit-learn does not check.
    """
    from sklearn.base import clone

    try:
        if entry.adapter:
            model = clone(template)
            model.restore(safetensors.torch.load(stored.tobytes()), width)
        else:
            model = _from_skops(entry, template, stored, width)
        if model.n_features_in_ != width or not set(model.classes_.tolist()) <= set(range(classes)):
            raise ValueError(f"it reads {model.n_features_in_} columns, wanted {width}, of {classes} classes")
    except UNREADABLE as error:
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(f"no fitted {entry.path} is stored here ({reason}); train again") from error
    return model


def _from_skops(entry: Entry, template: Any, stored: NDArray[np.uint8], width: int) -> Any:
    import skops.io

    model = skops.io.loads(stored.tobytes(), trusted=list(entry.private))
    if type(model) is not entry.kind or _parameters(model) != _parameters(template):
        raise ValueError(f"it holds {' '.join(repr(model).split())[:100]}")
    if hasattr(model, "support_vectors_"):
        _check_support_vectors(model)
    for left, right, column, leaf in _trees(model):
        _check_nodes(left, right, column, leaf, width)
    return model


def _parameters(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.get_params(deep=False).items() if name != "random_state"}


def _check_support_vectors(model: Any) -> None:
    """Raise ValueError where libsvm would read outside of its arrays."""
    vectors, classes = len(model.support_vectors_), len(model.classes_)
    shapes = (model._n_support.shape, model._dual_coef_.shape, model._intercept_.shape, model.support_.shape)
    wanted = ((classes,), (classes - 1, vectors), (classes * (classes - 1) // 2,), (vectors,))
    if shapes != wanted or (model._n_support < 0).any() or model._n_support.sum() != vectors:
        raise ValueError("its support vectors do not fit one another")


def _trees(model: Any) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.bool_]]]:
    """Left and right child, column and whether it is a leaf, of the nodes of each tree."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier
    from sklearn.tree._tree import Tree

    for one in (tree for iteration in getattr(model, "_predictors", ()) for tree in iteration):
        if type(one) is not TreePredictor or one.nodes["is_categorical"].any():
            raise ValueError("its trees are of another kind")
        yield one.nodes["left"], one.nodes["right"], one.nodes["feature_idx"], one.nodes["is_leaf"] != 0
    for one in getattr(model, "estimators_", ()):
        if type(one) not in (DecisionTreeClassifier, ExtraTreeClassifier) or type(one.tree_) is not Tree:
            raise ValueError("its trees are of another kind")
        tree = one.tree_
        yield tree.children_left, tree.children_right, tree.feature, tree.children_left == -1


def _check_nodes(
    left: NDArray[Any], right: NDArray[Any], column: NDArray[Any], leaf: NDArray[np.bool_], width: int
) -> None:
    """Raise ValueError unless every branch leads to later nodes of the tree, by a column of the input."""
    place = np.arange(len(leaf))
    children = np.stack([left, right]).astype(np.int64)[:, ~leaf]
    if not len(leaf) or (children <= place[~leaf]).any() or (children >= len(leaf)).any():
        raise ValueError("its trees branch to nodes that they do not have")
    if ((column < 0) | (column >= width))[~leaf].any():
        raise ValueError(f"its trees read a column outside of {width}")
