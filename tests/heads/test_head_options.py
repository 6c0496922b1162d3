"""The options of every head: each changes the head and refuses invalid values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from msa.heads.base import Dims, Inputs
from msa.heads.registry import HEADS, build_head

DIMS = Dims(image=12, text=10, classes=3)
# A value other than the default for each option, by its name, or by head and name where heads differ.
OTHER_VALUES: dict[str | tuple[str, str], list[int | float | str]] = {
    "heads": [2],
    "ffn": [9],
    "layers": [1],
    "positions": ["none", "sinusoidal", "learned"],
    "joined": ["concat"],
    "ways": [4],
    "weights": ["fixed"],
    "combine": ["max", "vote"],
    "rank": [2],
    "cell": ["gru"],
    "directions": [1],
    "landmarks": [5],
    "gamma": [0.5],
    "ridge": [5.0],
    "balance": [0.0],
    ("concat", "layers"): [0],
}
CASES = [
    (head, option, value)
    for head, info in HEADS.items()
    for option, default in info.options.items()
    for value in OTHER_VALUES.get((head, option), OTHER_VALUES.get(option, []))
    if value != default
]


def test_every_option_of_every_head_is_tried() -> None:
    options = {(head, option) for head, info in HEADS.items() for option in info.options}
    assert options - {(head, option) for head, option, _ in CASES} == set(), "give another value in OTHER_VALUES"


def make_inputs(tokens: bool = True, rows: int = 6) -> Inputs:
    patches, words = (5, 7) if tokens else (1, 1)
    draw = torch.Generator().manual_seed(1)

    def filled(positions: int, width: int) -> tuple[Tensor, Tensor]:
        return torch.randn(rows, positions, width, generator=draw), torch.ones(rows, positions).bool()

    return Inputs(*filled(patches, DIMS.image), *filled(words, DIMS.text))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("head", "option", "value"), CASES)
def test_an_option_changes_the_head(head: str, option: str, value: int | float | str) -> None:
    usual = build_head(head, DIMS, hidden=16).eval()
    other = build_head(head, DIMS, hidden=16, **{option: value}).eval()  # type: ignore[arg-type]
    # All shared weights are equal, so that only the option makes a difference.
    shared = usual.state_dict()
    other.load_state_dict(
        {key: shared[key] if key in shared and shared[key].shape == own.shape else own
         for key, own in other.state_dict().items()}
    )  # fmt: skip
    inputs = make_inputs()
    for model in (usual, other):
        model.prepare(inputs, torch.tensor([0, 1, 2, 0, 0, 1]), torch.arange(6))
    assert not torch.equal(other(inputs), usual(inputs))
    assert other(inputs).shape == (6, 3)


@pytest.mark.parametrize("head", [name for name, info in HEADS.items() if "positions" in info.options])
def test_positions_make_logits_depend_on_the_order_of_tokens(head: str) -> None:
    inputs = make_inputs()
    order = [0, 3, 1, 4, 2]  # the pooled vector stays first
    shuffled = inputs._replace(image=inputs.image[:, order])
    for kind, counts in [("none", False), ("sinusoidal", True), ("learned", True)]:
        model = build_head(head, DIMS, hidden=16, positions=kind).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("positions.table"):
                    parameter.mul_(50)
        difference = (model(shuffled) - model(inputs)).abs().max()
        assert difference > 1e-4 if counts else difference < 1e-5
        pooled = make_inputs(tokens=False)
        plain = build_head(head, DIMS, hidden=16, positions="none").eval()
        plain.load_state_dict({key: value for key, value in model.state_dict().items() if "table" not in key})
        assert torch.equal(model(pooled), plain(pooled))


def test_fixed_weights_are_symmetric_in_the_modalities() -> None:
    head = build_head("weighted", Dims(10, 10, 3), hidden=16, weights="fixed").eval()
    head.projections["image"].load_state_dict(head.projections["text"].state_dict())
    inputs = make_inputs(tokens=False)._replace(image=torch.randn(6, 1, 10))
    swapped = Inputs(inputs.text, inputs.text_mask, inputs.image, inputs.image_mask)
    torch.testing.assert_close(head(inputs), head(swapped))


@pytest.mark.parametrize(
    ("head", "arguments", "message"),
    [
        ("atention", {}, "did you mean attention"),
        ("zzz", {}, "unknown fusion head 'zzz'; did you mean attention, bilinear"),
        ("gated", {"heads": 4}, "no option 'heads'; its options: none"),
        ("attention", {"layers": 1}, "its options: heads, ffn, positions"),
        ("attention", {"hidden": 30, "heads": 4}, "got hidden 30 and heads 4; set hidden to 32"),
        ("attention", {"heads": 0}, "multiple of heads"),
        ("attention", {"ffn": 0}, "ffn must be 1 or more, got 0"),
        ("attention", {"positions": "absolute"}, "one of none, sinusoidal, learned; got 'absolute'"),
        ("concat", {"layers": 2}, "got 2"),
        ("weighted", {"weights": "fix"}, "got 'fix'"),
        ("threeway", {"ways": 5}, "ways 3 or 4 .*got 5"),
        ("threeway", {"joined": "add"}, "'sum' or 'concat', got 'add'"),
        ("threeway", {"joined": "concat", "positions": "none"}, "no positions to concat; set positions"),
        ("late", {"combine": "median"}, "one of mean, max, vote, linear; got 'median'"),
        ("hybrid", {"combine": ""}, "got ''"),
        ("bilinear", {"rank": 0}, "rank must be 1 or more, got 0"),
        ("rnn", {"cell": "elman"}, "'lstm' or 'gru', got 'elman'"),
        ("rnn", {"directions": 3}, "got 3"),
        ("concat", {"hidden": 0}, "hidden must be 1 or more, got 0"),
        ("concat", {"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        *((name, {"layers": 0}, "layers must be 1 or more, got 0") for name in ("coattention", "transformer", "mult")),
    ],
)
def test_a_wrong_argument_raises_a_clear_error(head: str, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_head(head, DIMS, **arguments)  # type: ignore[arg-type]


def test_default_heads_are_small() -> None:
    dims = Dims(image=1280, text=384, classes=3)
    sizes = {name: sum(p.numel() for p in build_head(name, dims).parameters()) for name in HEADS}
    assert max(sizes.values()) < 1_500_000, sizes


@pytest.mark.parametrize("widths", [(0, 4, 3), (4, 0, 3), (4, 4, 1)])
def test_invalid_widths_are_refused(widths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="or more"):
        Dims(*widths)


@pytest.mark.parametrize(
    ("name", "option", "value"), [("concat", "layers", "2"), ("concat", "layers", True), ("attention", "positions", 1)]
)
def test_a_value_of_another_type_is_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"option {option} of head '{name}' must be a .*; got {value!r}"):
        build_head(name, DIMS, **{option: value})  # type: ignore[arg-type]
