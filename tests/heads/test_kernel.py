"""The kernel head: its kernel, what it fits to the training rows, and the separate normalisation of encoders."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from msa.heads.base import Dims, Head, Inputs, PartNorm
from msa.heads.kernel import SHARPNESS, KernelHead, ModalityKernel
from msa.heads.registry import HEADS, build_head
from msa.heads.towers import Towers

PARTS = Dims(image=9, text=5, classes=3, image_parts=(6, 3), text_parts=(5,))
ROWS = torch.arange(40)
LABELS = torch.arange(60) % 7 % 3


def posts(rows: int = 60) -> Inputs:
    draw = torch.Generator().manual_seed(0)
    there = torch.ones(rows, 1, dtype=torch.bool)
    return Inputs(torch.randn(rows, 1, 9, generator=draw), there, torch.randn(rows, 1, 5, generator=draw), there)


def prepared(inputs: Inputs, rows: Tensor = ROWS, **options: float) -> Head:
    head = build_head("kernel", PARTS, hidden=16, **options).eval()
    head.prepare(inputs, LABELS, rows)
    return head


def kernel(head: Head, modality: str) -> ModalityKernel:
    found = head.projections[modality]
    assert isinstance(found, ModalityKernel)
    return found


def kernel_of(inputs: Inputs, rows: Tensor, others: Tensor, gamma: float) -> Tensor:
    """The product of both modalities' kernels, by its definition, of vectors standardised on ROWS."""

    def one(vectors: Tensor, parts: list[tuple[int, int]]) -> Tensor:
        z = (vectors - vectors[ROWS].mean(0)) / vectors[ROWS].std(0, correction=0)
        squares = (z[rows][:, None] - z[others]).square()
        return torch.stack([torch.exp(-gamma * squares[..., a:b].mean(-1)) for a, b in parts]).mean(0)

    return one(inputs.image[:, 0], [(0, 6), (6, 9)]) * one(inputs.text[:, 0], [(0, 5)])


def test_features_have_the_products_of_the_kernel() -> None:
    """With as many components as landmarks, the features of landmarks are a root of their kernel, up to one factor."""
    inputs = posts()
    head = build_head("kernel", PARTS, hidden=40, landmarks=40, gamma=0.7).eval()
    head.prepare(inputs, LABELS, ROWS)
    assert isinstance(head, KernelHead)
    features = head._features(*((x[ROWS, 0], torch.ones(40, dtype=torch.bool)) for x in (inputs.image, inputs.text)))
    products = (features + head.centre) @ (features + head.centre).T
    expected = kernel_of(inputs, ROWS, ROWS, 0.7)
    torch.testing.assert_close(products / products[0, 0], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_training_starts_at_the_ridge_regression_of_scikit_learn(balance: float) -> None:
    inputs = posts()
    head = build_head("kernel", PARTS, hidden=40, landmarks=40, gamma=0.7, ridge=0.5, balance=balance).eval()
    head.prepare(inputs, LABELS, ROWS)
    counts = torch.bincount(LABELS[ROWS]).double() / len(ROWS)
    weights = (counts**-balance)[LABELS[ROWS]]
    root = torch.linalg.cholesky(kernel_of(inputs, ROWS, ROWS, 0.7).double() + 1e-9 * torch.eye(40))
    features = torch.linalg.solve_triangular(root, kernel_of(inputs, ROWS, torch.arange(60), 0.7).double(), upper=False)
    model = Ridge(alpha=0.5).fit(features.T[:40], torch.eye(3)[LABELS[ROWS]], sample_weight=weights / weights.mean())
    expected = SHARPNESS * torch.from_numpy(model.predict(features.T.numpy())).float()
    torch.testing.assert_close(head(inputs), expected, atol=2e-2, rtol=0)


def test_rows_are_added_up_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, rows = posts(), ROWS.repeat_interleave(3)
    whole = prepared(inputs, rows)(inputs)
    monkeypatch.setattr("msa.heads.kernel.ROWS_PER_PIECE", len(ROWS))  # evenly spaced, they are each row once
    torch.testing.assert_close(prepared(inputs, rows)(inputs), whole, atol=1e-4, rtol=1e-4)


def test_only_training_rows_are_used() -> None:
    inputs = posts()
    other = inputs._replace(image=inputs.image.clone(), text=inputs.text.clone())
    other.image[40:], other.text[40:] = torch.nan, torch.nan
    changed = LABELS.clone()
    changed[40:] = -1
    unseen = build_head("kernel", PARTS, hidden=16).eval()
    unseen.prepare(other, changed, ROWS)
    for name, tensor in prepared(inputs).state_dict().items():
        assert torch.equal(tensor, unseen.state_dict()[name])


def test_scale_and_shift_of_features_do_not_matter() -> None:
    inputs = posts()
    scale, shift = torch.logspace(-3, 3, 9), torch.arange(9.0)
    other = inputs._replace(image=inputs.image * scale + shift)
    torch.testing.assert_close(prepared(other)(other), prepared(inputs)(inputs), atol=1e-3, rtol=0)


def test_constant_columns_outliers_and_few_rows_are_harmless() -> None:
    inputs = posts()
    inputs.image[:, :, 0] = 7.0
    inputs.image[50] = 1e20
    for rows in (ROWS, torch.tensor([3]), torch.tensor([3, 3])):
        assert prepared(inputs, rows)(inputs).isfinite().all()


def test_rows_without_a_modality_get_the_null_vector() -> None:
    inputs = posts()
    mask = inputs.image_mask.clone()
    mask[:20] = False
    gaps = inputs._replace(image=torch.where(mask[..., None], inputs.image, torch.nan), image_mask=mask)
    head = prepared(gaps, landmarks=40)
    image = kernel(head, "image")
    torch.testing.assert_close(image.mean, inputs.image[20:40, 0].mean(0))
    assert (image.landmarks == image.null.half()).all(1).sum() == 20
    nothing = gaps._replace(image_mask=mask & False)
    assert prepared(nothing)(nothing).isfinite().all()


def test_heads_of_an_ensemble_have_different_landmarks() -> None:
    inputs = posts()
    heads = [build_head("kernel", PARTS, hidden=16, landmarks=20, seed=seed) for seed in (0, 0, 1)]
    for head in heads:
        head.prepare(inputs, LABELS, ROWS)
    one, same, other = (kernel(head, "text").landmarks for head in heads)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"landmarks": 0}, "landmarks must be above 0"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"ridge": -0.1}, "ridge must be 0 or more"),
        ({"balance": -1.0}, "balance must be 0 or more"),
    ],
)
def test_invalid_options_are_refused(option: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_head("kernel", PARTS, **option)


def test_the_kernel_head_is_refused_on_towers() -> None:
    head = build_head("kernel", Dims(1, 1, 3), towers=Towers(vocabulary=9))
    with pytest.raises(ValueError, match="choose another fusion for pixels and tokens"):
        head.prepare(posts(), LABELS, ROWS)


def test_each_encoder_is_normalised_separately() -> None:
    norm = PartNorm((6, 3))
    vectors = torch.randn(4, 2, 9) * torch.tensor([1e3] * 6 + [1.0] * 3)
    for part in norm(vectors).split([6, 3], -1):
        torch.testing.assert_close(part.mean(-1), torch.zeros(4, 2), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.var(-1, correction=0), torch.ones(4, 2), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "text"])
def test_an_encoder_of_small_scale_has_influence_beside_one_of_large_scale(name: str) -> None:
    inputs = posts()
    large = inputs._replace(image=inputs.image * torch.tensor([1e4] * 6 + [1.0] * 3))
    changed = large._replace(image=torch.cat([large.image[..., :6], -large.image[..., 6:]], -1))
    apart, whole = (
        build_head(name, dims, hidden=16).eval() for dims in (PARTS, Dims(PARTS.image, PARTS.text, PARTS.classes))
    )
    for head in (apart, whole):
        head.prepare(large, LABELS, ROWS)
    assert ((apart(changed) - apart(large)).abs().amax(1) > 1e-4).float().mean() > 0.9
    if name != "kernel":  # which standardises every column
        assert (whole(changed) - whole(large)).abs().max() < 1e-2


@pytest.mark.parametrize("parts", [(5, 3), (9, 0), (10, -1)])
def test_parts_that_do_not_add_up_are_refused(parts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be 1 or more and add up to 9"):
        Dims(9, 5, 3, image_parts=parts)
    assert Dims(9, 5, 3).parts("image") == (9,)
