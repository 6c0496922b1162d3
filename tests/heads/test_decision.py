"""Late and hybrid fusion computed by hand: every combination, missing modalities, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from msa.heads.base import Dims, Inputs
from msa.heads.decision import HIGHEST, LOWEST, Combination, best_temperature, combine_decisions, fit_weights
from msa.heads.registry import build_head

DIMS = Dims(image=4, text=5, classes=3)
# Class probabilities of three posts by the image and by the text classifier.
IMAGE = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
TEXT = torch.tensor([[0.2, 0.7, 0.1], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1]])
BOTH = torch.stack([IMAGE, TEXT])


def combine(
    how: Combination,
    *,
    image: tuple[bool, bool, bool] = (True, True, True),
    text: tuple[bool, bool, bool] = (True, True, True),
    weights: tuple[float, float] = (0.5, 0.5),
) -> Tensor:
    present = torch.tensor([image, text])
    return combine_decisions(BOTH.log(), present, torch.tensor(weights), how).exp()


def make_inputs(rows: int = 8) -> Inputs:
    draw = torch.Generator().manual_seed(2)
    full = torch.ones(rows, 1).bool()
    return Inputs(torch.randn(rows, 1, 4, generator=draw), full, torch.randn(rows, 1, 5, generator=draw), full)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def test_mean() -> None:
    torch.testing.assert_close(combine("mean"), (IMAGE + TEXT) / 2)


def test_max() -> None:
    expected = torch.tensor([[0.5, 0.7, 0.2], [0.2, 0.6, 0.3], [0.8, 0.3, 0.4]])
    torch.testing.assert_close(combine("max"), expected)


def test_vote() -> None:
    votes = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 1.0]])
    torch.testing.assert_close(combine("vote"), votes + (IMAGE + TEXT) / 2)
    assert combine("vote").argmax(-1).tolist() == [1, 1, 0]  # one vote each: the mean decides


def test_a_majority_is_not_overturned_by_one_confident_part() -> None:
    three = torch.tensor([[[0.4, 0.35, 0.25]], [[0.4, 0.3, 0.3]], [[1e-6, 1 - 2e-6, 1e-6]]])
    everyone, alike = torch.ones(3, 1).bool(), torch.full((3,), 1 / 3)
    assert int(combine_decisions(three.log(), everyone, alike, "vote").argmax()) == 0
    assert int(combine_decisions(three.log(), everyone, alike, "mean").argmax()) == 1


def test_linear() -> None:
    torch.testing.assert_close(combine("linear", weights=(0.9, 0.1)), 0.9 * IMAGE + 0.1 * TEXT)


@pytest.mark.parametrize("how", ["mean", "max", "linear", "vote"])
def test_a_missing_modality_is_left_out(how: Combination) -> None:
    out = combine(how, image=(False, True, False), text=(True, False, False), weights=(0.9, 0.1))
    expected = torch.stack([TEXT[0], IMAGE[1]])
    if how == "vote":
        expected = expected + torch.nn.functional.one_hot(expected.argmax(-1), 3)
    torch.testing.assert_close(out[:2], expected)
    torch.testing.assert_close(out[2], combine(how, weights=(0.9, 0.1))[2])  # if both are missing, both are combined


def test_confident_wrong_predictions_stay_finite() -> None:
    log_p = torch.tensor([[[0.0, -900.0, -900.0]], [[0.0, -800.0, -900.0]]], requires_grad=True)
    for how in ("mean", "max", "vote", "linear"):
        out = combine_decisions(log_p, torch.tensor([[True], [False]]), torch.tensor([0.5, 0.5]), how)  # type: ignore[arg-type]
        assert out.isfinite().all()
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(out, torch.tensor([1])), log_p)
        assert gradient.isfinite().all()
        assert not gradient[1].any()  # the part that is left out


@pytest.mark.parametrize("name", ["late", "hybrid"])
def test_the_head_combines_its_parts(name: str) -> None:
    head = build_head(name, DIMS, hidden=8).eval()
    head.temperature.copy_(torch.tensor([2.0, 0.5, 3.0])[: len(head.temperature)])
    inputs = make_inputs()
    parts = head.parts(inputs)
    expected = (parts / head.temperature[:, None, None]).softmax(-1).mean(0)
    torch.testing.assert_close(head(inputs).exp(), expected)
    gone = inputs._replace(image_mask=inputs.image_mask & False)
    calibrated = (head.parts(gone) / head.temperature[:, None, None]).softmax(-1)
    torch.testing.assert_close(head(gone).exp(), calibrated[1:].mean(0))
    blank = gone._replace(text_mask=gone.text_mask & False)
    null = (head.parts(blank) / head.temperature[:, None, None]).softmax(-1)
    torch.testing.assert_close(head(blank).exp(), null.mean(0) if name == "late" else null[2])


def test_the_parts_of_the_late_head_share_nothing() -> None:
    head, inputs = build_head("late", DIMS, hidden=8).eval(), make_inputs()
    changed = inputs._replace(image=-inputs.image)
    assert torch.equal(head.parts(changed)[1], head.parts(inputs)[1])
    assert not torch.equal(head.parts(changed)[0], head.parts(inputs)[0])


def test_a_temperature_undoes_the_scaling_of_logits() -> None:
    draw = torch.Generator().manual_seed(0)
    true = torch.randn(20_000, 3, generator=draw, dtype=torch.float64)
    labels = torch.multinomial(true.softmax(-1), 1, generator=draw)[:, 0]
    for factor in (0.25, 1.0, 4.0):
        assert best_temperature(true * factor, labels) == pytest.approx(factor, rel=0.05)


def test_a_temperature_is_the_best_there_is_and_bounded() -> None:
    draw = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(40, 3, generator=draw).double(), torch.arange(40) % 3
    logits[range(30), labels[:30]] += 2

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / temperature, labels))

    best = best_temperature(logits, labels)
    assert LOWEST < best < HIGHEST
    assert loss(best) <= min(loss(math.exp(x / 100)) for x in range(-230, 231)) + 1e-9
    right = torch.nn.functional.one_hot(labels, 3).double()
    assert best_temperature(right, labels) == pytest.approx(LOWEST)
    assert best_temperature(-right, labels) == pytest.approx(HIGHEST)
    assert best_temperature(logits[:0], labels[:0]) == 1.0


def test_weights_prefer_the_better_part_and_are_never_0() -> None:
    right = torch.tensor([[0.9], [0.1]]).log().expand(2, 1000)
    weights = fit_weights(right)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.95
    assert weights[1] > 0.005
    torch.testing.assert_close(fit_weights(right[:, :0]), torch.tensor([0.5, 0.5]))
    assert fit_weights(right[:, :5])[0] < fit_weights(right[:, :50])[0]  # few rows move them little


def test_weights_are_the_maximum_likelihood_but_for_the_prior() -> None:
    draw = torch.Generator().manual_seed(3)
    right = torch.rand(2, 5000, generator=draw, dtype=torch.float64).log()
    right[0, :2000] = math.log(0.9)
    first = float(fit_weights(right)[0])

    def likelihood(share: float) -> float:
        return float((share * right[0].exp() + (1 - share) * right[1].exp()).log().sum())

    best = max(range(1, 1000), key=lambda k: likelihood(k / 1000)) / 1000
    assert first == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize("how", ["mean", "linear"])
@pytest.mark.parametrize("name", ["late", "hybrid"])
def test_calibration_is_deterministic_and_never_worse(name: str, how: str) -> None:
    head = build_head(name, DIMS, hidden=8, combine=how).eval()
    inputs, labels = make_inputs(60), torch.arange(60) % 3
    before = {key: value.clone() for key, value in head.state_dict().items()}
    parts = head.parts(inputs).detach()
    raw = [float(torch.nn.functional.cross_entropy(part, labels)) for part in parts]
    head.calibrate(inputs, labels)
    after = [torch.nn.functional.cross_entropy(p / t, labels) for p, t in zip(parts, head.temperature, strict=True)]
    assert all(float(new) <= old + 1e-6 for new, old in zip(after, raw, strict=True))
    changed = {key for key, value in head.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == ({"temperature", "weights"} if how == "linear" else {"temperature"})
    first = head.state_dict()["temperature"].clone(), head.state_dict()["weights"].clone()
    head.calibrate(inputs, labels)  # fitted to the raw parts, so a second call changes nothing
    assert torch.equal(head.temperature, first[0])
    assert torch.equal(head.weights, first[1])


def test_rows_without_a_modality_do_not_calibrate_it() -> None:
    head = build_head("late", DIMS, hidden=8, combine="linear").eval()
    inputs, labels = make_inputs(30), torch.arange(30) % 3
    inputs.image_mask[:20] = False
    head.calibrate(inputs, labels)
    assert float(head.temperature[0]) == pytest.approx(
        best_temperature(head.parts(inputs)[0, 20:].double(), labels[20:]), 1e-3
    )
    log_p = (head.parts(inputs) / head.temperature[:, None, None]).log_softmax(-1)  # (2, 30, 3)
    torch.testing.assert_close(head.weights, fit_weights(log_p[:, range(20, 30), labels[20:]].detach()))
    head.calibrate(inputs._replace(image_mask=inputs.image_mask & False), labels)
    assert float(head.temperature[0]) == 1.0
    torch.testing.assert_close(head.weights, torch.tensor([0.5, 0.5]))  # no row has both
