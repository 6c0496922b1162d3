"""Networks of pytabkit for tables as classifiers of scikit-learn, whose fitted state is tensors."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from .seeding import seeded

Constraints = dict[str, list[Any]]
COUNT = Interval(Integral, 1, None, closed="left")
RATE, SHARE = Interval(Real, 0, None, closed="left"), Interval(Real, 0, 1, closed="left")
SPLIT = Interval(Real, 0, 1, closed="neither")


class NetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network that trains on rows X (n, D) but for a share `val_fraction` of them, drawn at random.

    Its weights are those of the epoch with the lowest error on that share.
    """

    MODULES: ClassVar[tuple[str, ...]]
    random_state: int
    val_fraction: float
    network: nn.Module

    def require(self) -> None:
        """Import pytabkit. Raises ModuleNotFoundError where it is missing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what its dependencies find deprecated in one another
            for module in self.MODULES:
                importlib.import_module(module)

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> NetworkClassifier:  # noqa: N803
        """Train on X (n, D) and labels y (n,). Raises ValueError where one class has all rows."""
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("the training rows have one class, wanted two or more")
        self.n_features_in_ = X.shape[1]
        split = train_test_split(np.arange(len(X)), test_size=self.val_fraction, random_state=self.random_state)
        train, valid = map(torch.from_numpy, split)
        with seeded(self.random_state), torch.enable_grad():
            self.train(torch.from_numpy(X).float(), torch.from_numpy(labels), train, valid)
        return self

    def train(self, x: Tensor, labels: Tensor, train: Tensor, valid: Tensor) -> None:
        """Set `network` to one that is trained on these rows of x (n, D)."""
        raise NotImplementedError

    @torch.no_grad()
    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float32]:  # noqa: N803
        """Class probabilities (n, K)."""
        probabilities: NDArray[np.float32] = self.probabilities(torch.from_numpy(X).float()).numpy()
        return probabilities

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities (n, K) of x (n, D)."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs."""
        state = {f"network.{name}": tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        return {"classes": torch.from_numpy(self.classes_), **state}

    def restore(self, tensors: Mapping[str, Tensor], width: int) -> None:
        """Become the classifier of `width` columns that `tensors` returned these of.

        Raises KeyError or RuntimeError where they are not of such a classifier.
        """
        self.classes_, self.n_features_in_ = tensors["classes"].numpy(), width
        with seeded(0):
            self.network = self.new_network(tensors, width).eval()
        prefix = "network."
        self.network.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})

    def new_network(self, tensors: Mapping[str, Tensor], width: int) -> nn.Module:
        """A network that these tensors fit."""
        raise NotImplementedError


class RealMLP(NetworkClassifier):
    """RealMLP (Holzmüller et al., 2024): a perceptron on periodic features of each column, with tuned defaults.

    As `pytabkit.models.realmlp` implements it, with the defaults of the paper but fewer epochs.
    """

    MODULES = ("pytabkit.models.realmlp",)
    _parameter_constraints: ClassVar[Constraints] = {
        **{name: [COUNT] for name in ("n_epochs", "hidden_width", "n_hidden_layers", "n_ens", "batch_size")},
        **{name: [RATE] for name in ("lr", "wd", "plr_sigma")},
        **{name: [SHARE] for name in ("p_drop", "ls_eps")},
        "val_fraction": [SPLIT],
    }

    def __init__(
        self,
        *,
        n_epochs: int,
        hidden_width: int,
        n_hidden_layers: int,
        n_ens: int,
        batch_size: int,
        lr: float,
        wd: float,
        plr_sigma: float,
        p_drop: float,
        ls_eps: float,
        val_fraction: float,
        random_state: int,
    ) -> None:
        self.n_epochs = n_epochs
        self.hidden_width = hidden_width
        self.n_hidden_layers = n_hidden_layers
        self.n_ens = n_ens
        self.batch_size = batch_size
        self.lr = lr
        self.wd = wd
        self.plr_sigma = plr_sigma
        self.p_drop = p_drop
        self.ls_eps = ls_eps
        self.val_fraction = val_fraction
        self.random_state = random_state

    def train(self, x: Tensor, labels: Tensor, train: Tensor, valid: Tensor) -> None:
        """Set `network` to one that is trained on these rows of x (n, D)."""
        from pytabkit.models.realmlp import fit

        rows = {"train_idxs": train[None], "val_idxs": valid[None]}
        classes = len(self.classes_)
        self.network, _ = fit(
            self._config(), x, _none(x), [], labels[:, None], n_classes=classes, seed=self.random_state, **rows
        )

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities (n, K) of x (n, D)."""
        from pytabkit.models.realmlp import predict

        logits: Tensor = predict(self.network, x, _none(x))[0]
        return logits.softmax(-1)

    def new_network(self, tensors: Mapping[str, Tensor], width: int) -> nn.Module:
        """A network that these tensors fit."""
        from pytabkit.models.realmlp import RealMLP as Network

        network: nn.Module = Network(width, [], len(self.classes_), self.n_ens, self._config(), True)
        return network

    def _config(self) -> Any:
        from pytabkit.models.realmlp import RealMLPConfig

        own = {name: value for name, value in self.get_params().items() if name not in ("val_fraction", "random_state")}
        return RealMLPConfig.td_class(**own)


def _none(x: Tensor) -> Tensor:
    """No categorical columns."""
    return torch.empty(len(x), 0, dtype=torch.int64)


class TabM(NetworkClassifier):
    """TabM (Gorishniy et al., 2025): `tabm_k` perceptrons that share most weights, their probabilities averaged.

    Trained by pytabkit on standardised columns; of its defaults, layers are narrower here.
    """

    MODULES = ("pytabkit", "pytabkit.models.alg_interfaces.tabm_interface")
    _parameter_constraints: ClassVar[Constraints] = {
        **{name: [COUNT] for name in ("n_epochs", "patience", "tabm_k", "d_block", "n_blocks", "batch_size")},
        **{name: [RATE] for name in ("lr", "weight_decay")},
        "dropout": [SHARE],
        "val_fraction": [SPLIT],
    }

    def __init__(
        self,
        *,
        n_epochs: int,
        patience: int,
        tabm_k: int,
        d_block: int,
        n_blocks: int,
        batch_size: int,
        lr: float,
        weight_decay: float,
        dropout: float,
        val_fraction: float,
        random_state: int,
    ) -> None:
        self.n_epochs = n_epochs
        self.patience = patience
        self.tabm_k = tabm_k
        self.d_block = d_block
        self.n_blocks = n_blocks
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.val_fraction = val_fraction
        self.random_state = random_state

    def train(self, x: Tensor, labels: Tensor, train: Tensor, valid: Tensor) -> None:
        """Set `network` to one that is trained on these rows of x (n, D)."""
        from pytabkit import TabM_D_Classifier

        self.mean, deviation = x[train].mean(0), x[train].std(0, correction=0)
        self.deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        own = self.get_params()
        own["device"], own["n_threads"] = "cpu", torch.get_num_threads()
        # Without its transforms of columns, whose fitted state is no tensors; the bins are of one of them.
        model = TabM_D_Classifier(tfms=[], num_emb_n_bins=2, **own)
        model.fit(((x - self.mean) / self.deviation).numpy(), labels.numpy(), val_idxs=valid.numpy())
        (fitted,) = model.alg_interface_.sub_split_interfaces
        self.network, self.varying = fitted.model_.eval(), fitted.num_col_mask_

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities (n, K) of x (n, D)."""
        logits = self.network(((x - self.mean) / self.deviation)[:, self.varying])  # (n, k, K)
        probabilities: Tensor = logits.softmax(-1).mean(1)
        return probabilities

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs."""
        columns = {"mean": self.mean, "deviation": self.deviation, "varying": self.varying}
        return super().tensors() | columns

    def new_network(self, tensors: Mapping[str, Tensor], width: int) -> nn.Module:
        """A network that these tensors fit."""
        from pytabkit.models.nn_models.tabm import Model

        self.mean, self.deviation, self.varying = (tensors[name] for name in ("mean", "deviation", "varying"))
        if any(tensor.shape != (width,) for tensor in (self.mean, self.deviation, self.varying)):
            raise RuntimeError(f"its columns are not {width}")
        shape = {"type": "MLP", "n_blocks": self.n_blocks, "d_block": self.d_block, "dropout": self.dropout}
        network: nn.Module = Model(
            n_num_features=int(self.varying.sum()),
            cat_cardinalities=[],
            n_classes=len(self.classes_),
            backbone=shape,
            bins=None,
            arch_type="tabm",
            k=self.tabm_k,
            share_training_batches=False,
        )
        return network
