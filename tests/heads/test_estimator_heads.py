"""The contract of every classifier that is a head."""

from __future__ import annotations

import copy
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from estimator_inputs import LEARNING, ROWS, TABICL, build_small, learnable, write_tabicl
from head_inputs import DIMS, pad, without
from sklearn.decomposition import PCA
from torch.nn.functional import cross_entropy

from msa.features.installation import explain_import_error
from msa.heads.base import Dims, Head, Inputs
from msa.heads.estimator import EstimatorHead, Standardisation
from msa.heads.registry import ESTIMATORS, build_head, fusion_names, head_info
from msa.pipeline.runs.checkpoint import load_heads, save_heads

TEST = torch.arange(60, 90)
SVC = "estimator:sklearn.svm.SVC"


@pytest.fixture(params=list(ESTIMATORS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fitted(name: str, seed: int = 0, **options: int | float | str) -> EstimatorHead:
    head = build_small(name, seed, **options)
    assert isinstance(head, EstimatorHead)
    head.prepare(*learnable(), ROWS)
    return head


def some(inputs: Inputs, rows: torch.Tensor) -> Inputs:
    return Inputs(*(tensor[rows] for tensor in inputs))


@pytest.mark.parametrize("name", LEARNING)
def test_it_learns_from_both_modalities(name: str) -> None:
    head, (inputs, labels) = fitted(name), learnable()
    logits = head(some(inputs, TEST))
    assert (logits.argmax(1) == labels[TEST]).float().mean() > 0.8
    assert logits.shape == (30, 3)
    assert logits.isfinite().all()
    assert logits.dtype == torch.float32
    assert list(head.parameters()) == []


def test_test_rows_change_nothing_that_is_fitted(name: str) -> None:
    inputs, labels = learnable()
    other = inputs._replace(image=inputs.image.clone())
    other.image[TEST] *= 100
    heads = [build_small(name) for _ in range(2)]
    for head, shown in zip(heads, (inputs, other), strict=True):
        head.prepare(shown, labels, ROWS)
    assert torch.equal(heads[0](inputs), heads[1](inputs))
    heads[1].prepare(other, labels, torch.arange(90))
    assert not torch.equal(heads[0](inputs), heads[1](inputs))


def test_the_seed_alone_decides(name: str) -> None:
    inputs, _ = learnable()
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    assert torch.equal(fitted(name, 3)(inputs), fitted(name, 3)(inputs))
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]


def test_a_missing_modality_has_a_prediction_of_its_own(name: str) -> None:
    head, (inputs, _) = fitted(name), learnable()
    gaps = without(inputs, image=list(range(90)))
    logits = head(gaps)
    assert logits.isfinite().all()
    assert not torch.allclose(logits, head(inputs))
    # The features of a missing modality are never read, and neither is padding.
    filled = gaps._replace(image=torch.full_like(gaps.image, torch.nan))
    assert torch.equal(head(filled), logits)
    torch.testing.assert_close(head(pad(inputs)), head(inputs))


def test_calibration_lowers_the_loss_and_keeps_the_classes(name: str) -> None:
    head, (inputs, labels) = fitted(name), learnable()
    shown = some(inputs, TEST)
    before = head(shown)
    head.calibrate(shown, labels[TEST])
    after = head(shown)
    assert cross_entropy(after, labels[TEST]) <= cross_entropy(before, labels[TEST]) + 1e-6
    assert torch.equal(after.argmax(1), before.argmax(1))


def test_stored_copied_and_pickled_heads_predict_the_same(name: str, tmp_path: Path) -> None:
    head, (inputs, labels) = fitted(name), learnable()
    head.calibrate(some(inputs, TEST), labels[TEST])
    save_heads(tmp_path / "head.safetensors", [head])
    (loaded,), _ = load_heads(tmp_path / "head.safetensors", lambda _: build_small(name, seed=6))
    again: Head = pickle.loads(pickle.dumps(head))
    for other in (loaded, copy.deepcopy(head), again):
        assert torch.equal(other(inputs), head(inputs))


def test_a_class_without_training_rows_is_never_predicted(name: str) -> None:
    head, (inputs, labels) = build_small(name), learnable()
    head.prepare(inputs, labels, torch.nonzero(labels != 1)[:, 0])
    logits = head(inputs)
    assert logits.isfinite().all()
    assert set(logits.argmax(1).tolist()) <= {0, 2}


def test_every_entry_has_a_summary_and_options(name: str) -> None:
    info = head_info(name)
    assert info.inputs == "pooled"
    assert 0 < len(info.summary) < 60
    assert info.paper
    assert {"scale", "pca"} < info.options.keys()
    assert not {"hidden", "dropout"} & info.options.keys()


def test_components_are_those_of_the_present_training_rows() -> None:
    inputs, _ = learnable()
    head = fitted(SVC, pca=3)
    side = head.projections["image"]
    assert isinstance(side, Standardisation)
    present = inputs.image_mask[ROWS, 0]
    vectors = inputs.image[ROWS, 0][present].double().numpy()
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    mask = torch.ones(len(vectors), dtype=torch.bool)
    found = side(torch.from_numpy(vectors), mask)
    torch.testing.assert_close(found, torch.from_numpy(PCA(3).fit_transform(scaled)), atol=1e-9, rtol=0)
    assert (side(torch.from_numpy(vectors), ~mask) == 0).all()
    assert head.model.n_features_in_ == 3 + 3 + 2


def test_scale_decides_whether_columns_are_standardised() -> None:
    inputs, _ = learnable()
    one, other = fitted(SVC), fitted(SVC, scale="none")
    assert (other.projections["image"].deviation == 1).all()
    assert (one.projections["image"].deviation > 2).all()
    assert not torch.allclose(one(inputs), other(inputs))


def test_more_components_than_rows_are_zero() -> None:
    inputs, labels = learnable()
    head = build_small(SVC, pca=9)
    head.prepare(inputs, labels, torch.arange(6))
    basis = head.projections["text"].basis
    assert basis.shape == (DIMS.text, 9)
    assert (basis[:, 6:] == 0).all()
    assert head(inputs).isfinite().all()


def test_of_two_classes_the_larger_decision_wins() -> None:
    inputs, labels = learnable()
    head = build_head(SVC, Dims(DIMS.image, DIMS.text, 2)).eval()
    head.prepare(inputs, labels.clamp(max=1), ROWS)
    assert isinstance(head, EstimatorHead)
    expected = head.model.predict(head._columns(inputs, torch.arange(90)))
    assert head(inputs).argmax(1).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"C": -1.0}, "'C' parameter of SVC.*the defaults are C=1.0"),
        ({"kernel": "cubic"}, "'kernel' parameter"),
        ({"scale": "robust"}, "standard, none; got 'robust'"),
        ({"pca": -1}, "pca must be 0"),
        ({"alpha": 1.0}, "no option 'alpha'"),
        ({"C": "big"}, "must be a number"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, float | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_head(SVC, DIMS, **option)


def test_only_classifiers_of_the_list_are_heads() -> None:
    for other in ("sklearn.svm.NuSVC", "os.system", "sklearn.svm.SVC.fit", ""):
        with pytest.raises(ValueError, match="unknown fusion head"):
            fusion_names(f"estimator:{other}")
    with pytest.raises(ValueError, match=r"did you mean estimator:sklearn\.svm\.SVC"):
        head_info("estimator:svm.SVC")
    assert fusion_names(SVC) == [SVC]


def test_what_cannot_be_fitted_is_one_line() -> None:
    inputs, labels = learnable()
    with pytest.raises(ValueError, match=r"sklearn\.svm\.SVC cannot be fitted \(.*\); change"):
        build_small(SVC).prepare(inputs, labels, torch.nonzero(labels == 1)[:, 0])
    with pytest.raises(ValueError, match="is not fitted"):
        build_small(SVC)(inputs)


def test_a_file_of_another_head_is_refused(tmp_path: Path) -> None:
    forest = "estimator:sklearn.ensemble.RandomForestClassifier"
    path = tmp_path / "head.safetensors"
    save_heads(path, [fitted(SVC, pca=4)])
    tensors = safetensors.torch.load_file(path)
    with pytest.raises(ValueError, match=r"no fitted sklearn\.ensemble\.RandomForestClassifier is stored"):
        load_heads(path, lambda _: build_small(forest, pca=4))
    with pytest.raises(ValueError, match=r"no fitted sklearn\.svm\.SVC is stored"):
        load_heads(path, lambda _: build_small(SVC, pca=4, C=7.0))
    tensors["fold0._extra_state"] = tensors["fold0._extra_state"][:100]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(ValueError, match=r"head\.safetensors.*train again"):
        load_heads(path, lambda _: build_small(SVC, pca=4))


REALMLP, TABM = "estimator:pytabkit.RealMLP", "estimator:pytabkit.TabM"


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        (
            "estimator:pytabkit.RealMLP",
            {"n_epochs": 0},
            "'n_epochs' parameter of RealMLP.*the defaults are n_epochs=64",
        ),
        ("estimator:pytabkit.RealMLP", {"p_drop": 1.0}, "'p_drop' parameter"),
        (TABM, {"val_fraction": 0.0}, "'val_fraction' parameter of TabM"),
        (TABICL, {"kv_cache": "all"}, "'kv_cache' parameter of TabICL"),
        (TABICL, {"model_path": "absent.ckpt"}, r"no weights of TabICL at absent\.ckpt: `hf download .*`, or name"),
        (TABICL, {"model_path": ""}, "no weights of TabICL in the Hugging Face cache"),
    ],
)
def test_options_of_other_packages_out_of_range_are_refused(
    name: str, option: dict[str, int | float | str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_small(name, **option)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in ((TABM, "pytabkit"), (TABICL, "tabicl")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError) as error:
            build_small(name)
        assert re.fullmatch(
            rf"{module} is not installed: `pip install .*(tabular|pytabkit tabicl).*`",
            str(explain_import_error(error.value)),
        )


def test_networks_train_alike_beside_other_threads() -> None:
    inputs, labels = learnable()

    def train(seed: int) -> torch.Tensor:
        head = build_small(TABM, seed, n_epochs=3)
        head.prepare(inputs, labels, ROWS)
        return head(inputs)

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(train, range(4)))
    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))


def test_a_network_is_stored_as_its_weights() -> None:
    head = fitted(TABM)
    tensors = safetensors.torch.load(bytes(head.get_extra_state().tolist()))
    assert {"classes", "mean", "deviation", "varying", "network.output.weight"} < tensors.keys()
    network = head.model.network
    assert torch.equal(tensors["network.output.weight"], network.output.weight)


def test_tabicl_reads_its_training_rows_with_the_weights_that_it_was_trained_with(tmp_path: Path) -> None:
    from tabicl import TabICLClassifier

    weights = write_tabicl(tmp_path / "weights.ckpt")
    head, (inputs, labels) = fitted(TABICL, model_path=str(weights)), learnable()
    columns = head._columns(inputs, torch.arange(90)).astype(np.float32)
    options = {"n_estimators": 2, "random_state": head.model.random_state, "device": "cpu", "model_path": weights}
    theirs = TabICLClassifier(**options).fit(columns[:60], labels[ROWS].numpy()).predict_proba(columns)
    np.testing.assert_allclose(head(inputs).softmax(1), theirs, atol=2e-3)
    stored = safetensors.torch.load(bytes(head.get_extra_state().tolist()))
    assert torch.equal(stored["context"], torch.from_numpy(columns[:60]))
    save_heads(tmp_path / "head.safetensors", [head])
    write_tabicl(weights, seed=1)
    with pytest.raises(ValueError, match=r"tabicl\.TabICLClassifier is stored here \(.*other weights of TabICL\)"):
        load_heads(tmp_path / "head.safetensors", lambda _: build_small(TABICL, model_path=str(weights)))


def test_a_file_that_is_no_checkpoint_of_tabicl_is_refused(tmp_path: Path) -> None:
    inputs, labels = learnable()
    for content in ({"weights": torch.ones(2)}, Path):
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(ValueError, match=r"other\.ckpt holds no weights of TabICL"):
            build_small(TABICL, model_path=str(tmp_path / "other.ckpt")).prepare(inputs, labels, ROWS)
