"""What a head's forward pass records: attention maps, weights of the modalities, or neither."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from head_inputs import build, make_inputs, pad, without

from msa.heads.base import Dims, Inputs
from msa.heads.recording import AttentionMap, Recording, record
from msa.heads.registry import HEADS, build_head
from msa.heads.towers import Towers

ATTENTION = {"attention", "coattention", "threeway", "fourway", "transformer", "mult", "ote"}
SHARES = {"weighted": 2, "gated": 2, "late": 2, "hybrid": 3}
NO_TOKENS = {"kernel"}  # reads pooled vectors alone
WAYS = {
    "attention": {("cross_attention", "image", "text"), ("pooling", "text", "text"), ("pooling", "image", "image")},
    "coattention": {
        *((f"image_layers.{n}", "image", "text") for n in (0, 1)),
        *((f"text_layers.{n}", "text", "image") for n in (0, 1)),
    },
    "threeway": {("ways.0", "image", "text"), ("ways.1", "text", "image"), ("ways.2", "image", "image")},
    "fourway": {
        *(("image_self", "image", "image"), ("image_cross", "image", "text"), ("image_cross_self", "image", "image")),
        *(("text_cross", "text", "image"), ("text_cross_self", "text", "text")),
    },
    "transformer": {("layers.0", "both", "both"), ("layers.1", "both", "both")},
    "mult": {
        *((f"image_layers.{n}", "image", "text") for n in (0, 1)),
        *((f"text_layers.{n}", "text", "image") for n in (0, 1)),
        *(("image_self", "image", "image"), ("text_self", "text", "text")),
    },
    "rnn": {("pooling", "image", "image")},
}


def recorded(name: str, inputs: Inputs) -> Recording:
    head = build(name).eval()
    plain = head(inputs)
    with record(head) as found:
        logits = head(inputs)
    assert torch.equal(logits, plain)
    return found


def keys_mask(one: AttentionMap, inputs: Inputs) -> torch.Tensor:
    """Which positions of the keys are real; a post without the modality has its null vector at position 0."""
    masks = []
    for modality in ("image", "text") if one.keys == "both" else (one.keys,):
        mask = inputs.side(modality)[1].clone()
        mask[~mask.any(-1), 0] = True
        masks.append(mask)
    return torch.cat(masks, -1)


@pytest.mark.parametrize("kind", ["pooled", "tokens"])
@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_records_maps_or_shares_or_has_none(name: str, kind: str) -> None:
    inputs = without(pad(make_inputs(kind)), image=[0], text=[1]) if kind == "tokens" else make_inputs(kind)
    found = recorded(name, inputs)
    assert bool(found.maps) == (name in ATTENTION or (kind == "tokens" and name not in NO_TOKENS))
    assert len(found.shares) == SHARES.get(name, 0)
    if found.shares:
        shares = torch.stack(list(found.shares.values()))
        assert shares.shape == (SHARES[name], 6)
        torch.testing.assert_close(shares.sum(0), torch.ones(6))
    for one in found.maps:
        pooled = name == "ote" and one.keys == "both"
        mask = torch.ones(6, 2).bool() if pooled else keys_mask(one, inputs)
        assert one.weights.shape[-1] == mask.shape[-1]
        assert one.sink.shape == one.weights.shape[:-1]
        torch.testing.assert_close(one.weights.sum(-1) + one.sink, torch.ones_like(one.sink))
        assert (one.weights.masked_select(~mask[:, None, None]) == 0).all()


@pytest.mark.parametrize("name", list(WAYS))
def test_maps_name_their_layer_their_queries_and_their_keys(name: str) -> None:
    assert {one[:3] for one in recorded(name, make_inputs("tokens")).maps} == WAYS[name]


def test_maps_have_one_row_of_weights_per_attention_head_and_query() -> None:
    (one, *_) = recorded("attention", make_inputs("tokens")).maps
    assert one.weights.shape == (6, 4, 5, 7)


def test_a_late_head_gives_a_missing_modality_no_weight() -> None:
    shares = recorded("late", without(make_inputs("pooled"), image=[0], text=[1])).shares
    assert shares["image"].tolist()[:3] == [0, 1, 0.5]


def test_decisions_combined_by_the_maximum_have_no_weights() -> None:
    head = build_head("late", Dims(12, 10, 3), hidden=16, combine="max").eval()
    with record(head) as found:
        head(make_inputs("pooled"))
    assert found.shares == {}


def test_the_gate_of_a_gated_head_is_the_weight_of_the_image() -> None:
    head = build("gated").eval()
    with torch.no_grad():
        head.gate.weight.zero_()
        head.gate.bias.fill_(2.0)
    with record(head) as found:
        head(make_inputs("pooled"))
    torch.testing.assert_close(found.shares["image"], torch.full((6,), 2.0).sigmoid())


def test_another_thread_is_not_recorded_and_nothing_is_after_the_block() -> None:
    head, inputs = build("attention").eval(), make_inputs("tokens")
    with record(head) as found:
        other = Thread(target=head, args=(inputs,))
        other.start()
        other.join()
        assert found.maps == []
    head(inputs)
    assert found.maps == []


def test_a_head_on_towers_records_the_fusion_and_not_the_tower() -> None:
    towers = Towers(image=True, vocabulary=20, width=8, layers=1)
    head = build_head("attention", Dims(image=96, text=1, classes=2), hidden=8, towers=towers).eval()
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 33, 96), generator=draw)
    ids = torch.randint(0, 20, (2, 5, 1), generator=draw)
    inputs = Inputs(pixels, torch.ones(2, 33).bool(), ids, torch.ones(2, 5).bool())
    fusion, encoded = head.fusion(inputs)
    with record(fusion) as found:
        assert torch.equal(fusion(encoded), head(inputs))
    assert {one.layer for one in found.maps} == {"cross_attention", "pooling"}
