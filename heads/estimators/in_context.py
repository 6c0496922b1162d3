"""TabICL as a classifier of scikit-learn whose fitted state is its training rows."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from .seeding import seeded

REPOSITORY, CHECKPOINT = "jingang/TabICL", "tabicl-classifier-v2-20260212.ckpt"


class TabICL(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """TabICL (Qu et al., 2025): a pretrained transformer that reads the training rows beside those to predict.

    Its weights, which are not trained, are the file `model_path`, or where that is empty, the checkpoint of the Hugging
    Face cache. Stored are the training rows, float32, and a digest of the weights.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "softmax_temperature": [Interval(Real, 0, None, closed="neither")],
        "kv_cache": [StrOptions({"kv", "repr"}), bool],
        "model_path": [str],
    }

    def __init__(
        self,
        *,
        n_estimators: int,
        softmax_temperature: float,
        kv_cache: str | bool,
        model_path: str,
        random_state: int,
    ) -> None:
        self.n_estimators = n_estimators
        self.softmax_temperature = softmax_temperature
        self.kv_cache = kv_cache
        self.model_path = model_path
        self.random_state = random_state

    def require(self) -> None:
        """Import tabicl and find its weights. Raises ModuleNotFoundError or ValueError where one is missing."""
        import tabicl  # noqa: F401

        self._weights()

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> TabICL:  # noqa: N803
        """Take X (n, D) and labels y (n,) as context. Raises ValueError where the weights are not of TabICL."""
        from tabicl import TabICLClassifier

        weights = self._weights()
        self.context, self.labels = np.ascontiguousarray(X, np.float32), np.ascontiguousarray(y, np.int64)
        self.digest = _digest(weights)
        options = self.get_params() | {"model_path": weights, "allow_auto_download": False, "device": "cpu"}
        try:
            with seeded(self.random_state):
                self.model = TabICLClassifier(**options).fit(self.context, self.labels)
        except (pickle.UnpicklingError, AssertionError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{weights} holds no weights of TabICL: {error or type(error).__name__}") from error
        self.classes_, self.n_features_in_ = self.model.classes_, X.shape[1]
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float32]:  # noqa: N803
        """Class probabilities (n, K)."""
        probabilities: NDArray[np.float32] = self.model.predict_proba(X.astype(np.float32))
        return probabilities

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs, beside the weights."""
        digest, seed = torch.tensor(list(self.digest), dtype=torch.uint8), torch.tensor(self.random_state)
        rows = {"context": torch.from_numpy(self.context), "labels": torch.from_numpy(self.labels)}
        return rows | {"weights": digest, "seed": seed}

    def restore(self, tensors: Mapping[str, Tensor], width: int) -> None:
        """Become the classifier of `width` columns that `tensors` returned these of.

        Raises KeyError or ValueError where they are not of such a classifier, or the weights are others.
        """
        context, labels = tensors["context"], tensors["labels"]
        if context.shape != (len(labels), width):
            raise ValueError(f"its training rows have the shape {list(context.shape)}, wanted {width} columns")
        if _digest(self._weights()) != bytes(tensors["weights"].tolist()):
            raise ValueError("it was trained with other weights of TabICL")
        self.random_state = int(tensors["seed"])
        self.fit(context.numpy(), labels.numpy())

    def _weights(self) -> Path:
        """The file of the weights. Raises ValueError with the line that downloads them where there is none."""
        from huggingface_hub import try_to_load_from_cache

        found = self.model_path or try_to_load_from_cache(REPOSITORY, CHECKPOINT)
        if not isinstance(found, str) or not Path(found).is_file():
            raise ValueError(
                f"no weights of TabICL {f'at {self.model_path}' if self.model_path else 'in the Hugging Face cache'}: "
                f"`hf download {REPOSITORY} {CHECKPOINT}`, or name the file by --option model_path=FILE"
            )
        return Path(found)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
