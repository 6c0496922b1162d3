"""Heads equal plain computations of their formulas, and torch's own layers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from msa.heads.base import Dims, Inputs, attend
from msa.heads.block import Attention, Block
from msa.heads.fourway import last
from msa.heads.registry import build_head
from msa.heads.rnn import Recurrent

DIMS = Dims(image=12, text=10, classes=3)


def make_inputs(patches: int = 1, words: int = 1) -> Inputs:
    draw = torch.Generator().manual_seed(4)
    image, text = torch.randn(3, patches, 12, generator=draw), torch.randn(3, words, 10, generator=draw)
    return Inputs(image, torch.ones(3, patches).bool(), text, torch.ones(3, words).bool())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def test_attention_equals_torch_where_both_are_defined() -> None:
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[True, True, False, True, False], [True, False, False, False, False]])

    def split(x: Tensor) -> Tensor:
        return x.reshape(2, -1, 2, 4).transpose(1, 2)

    expected = torch.nn.functional.scaled_dot_product_attention(
        split(query), split(key), split(value), attn_mask=mask[:, None, None]
    )
    torch.testing.assert_close(attend(query, key, value, mask, 2), expected.transpose(1, 2).reshape(2, 3, 8))
    assert torch.equal(attend(query, key, value, mask & False, 2), torch.zeros(2, 3, 8))


def test_a_block_with_self_attention_is_torchs_encoder_layer_with_the_sink_as_one_more_position() -> None:
    block = Block(8, heads=2, ffn=12, dropout=0.0).eval()
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation="gelu", batch_first=True)
    attention = block.attention
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        layer.self_attn.in_proj_bias.copy_(torch.cat([attention.query.bias, torch.zeros(8), attention.value.bias]))
    for own, theirs in [
        (block.out, layer.self_attn.out_proj),
        (block.attention_norm, layer.norm1),
        (block.feedforward[0], layer.linear1),
        (block.feedforward[2], layer.linear2),
        (block.feedforward_norm, layer.norm2),
    ]:
        theirs.load_state_dict(own.state_dict())
    tokens = torch.randn(3, 4, 8)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, True, False]])
    seen = torch.cat([block.attention.sink.expand(3, 1, 8), tokens], 1)
    hidden = torch.cat([torch.zeros(3, 1).bool(), ~mask], 1)
    expected = layer.train()(seen, src_key_padding_mask=hidden)[:, 1:]  # train: torch's fast path wants other shapes
    torch.testing.assert_close(block(tokens, tokens, mask), expected, atol=1e-5, rtol=0)


def test_an_attention_over_one_vector_is_a_gate() -> None:
    attention = Attention(8, 8, heads=2)
    context = torch.randn(1, 1, 8)
    first, second = (
        attention(torch.randn(1, 1, 8), context, torch.ones(1, 1).bool()),
        attention(torch.randn(1, 1, 8), context, torch.ones(1, 1).bool()),
    )
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_recurrent_network_is_torchs(cell: str, directions: int) -> None:
    own = Recurrent(6, 5, cell=cell, directions=directions)  # type: ignore[arg-type]
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](6, 5, batch_first=True, bidirectional=directions == 2)
    weights, biases = own.input.weight.chunk(directions), own.input.bias.chunk(directions)
    with torch.no_grad():
        for number, suffix in enumerate(["", "_reverse"][:directions]):
            getattr(theirs, f"weight_ih_l0{suffix}").copy_(weights[number])
            getattr(theirs, f"bias_ih_l0{suffix}").copy_(biases[number])
            getattr(theirs, f"weight_hh_l0{suffix}").copy_(own.recurrent[number].T)
            getattr(theirs, f"bias_hh_l0{suffix}").zero_()
    words, lengths = torch.randn(4, 7, 6), torch.tensor([7, 1, 4, 6])
    initial = own.initial[:, None].expand(-1, 4, -1).contiguous()
    packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
    _, state = theirs(packed, (initial, torch.zeros_like(initial)) if cell == "lstm" else initial)
    state = state[0] if cell == "lstm" else state  # (directions, 4, 5)
    mask = torch.arange(7) < lengths[:, None]
    torch.testing.assert_close(own(words, mask), torch.cat(list(state), -1), atol=1e-5, rtol=1e-5)


def test_an_lstm_starts_with_open_forget_gates() -> None:
    bias = Recurrent(6, 5, cell="lstm", directions=2).input.bias.view(2, 4, 5)
    assert torch.equal(bias[:, 1], torch.ones(2, 5))
    assert not (bias[:, 0] == 1).any()


def test_bilinear_is_a_low_rank_map_of_the_outer_product() -> None:
    head, inputs = build_head("bilinear", DIMS, hidden=4, rank=3).eval(), make_inputs()
    image, text = head.project_pooled(inputs)
    ones = torch.ones(3, 1)
    outer = torch.einsum("bi,bj->bij", torch.cat([image, ones], 1), torch.cat([text, ones], 1))  # (B, 5, 5)
    a = torch.cat([head.image_factors.weight, head.image_factors.bias[:, None]], 1).view(3, 4, 5)
    b = torch.cat([head.text_factors.weight, head.text_factors.bias[:, None]], 1).view(3, 4, 5)
    full = torch.einsum("rhi,rhj->hij", a, b)  # rank 3 in each of its 4 slices
    torch.testing.assert_close(head(inputs), head.classify(torch.einsum("hij,bij->bh", full, outer)))


def test_cma_weights_both_vectors_by_one_softmax() -> None:
    head, inputs = build_head("cma", DIMS, hidden=4).eval(), make_inputs()
    image, text = (vector.relu() for vector in head.project_pooled(inputs))
    scores = torch.cat([image, text], -1) @ head.score.weight.T + head.score.bias
    share = scores.exp() / scores.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(head(inputs), head.classify(torch.cat([share * image, share * text], -1)))


@pytest.mark.parametrize("ways", [3, 4])
def test_threeway_averages_over_all_positions_of_all_ways(ways: int) -> None:
    head = build_head("threeway", DIMS, hidden=8, ways=ways, positions="none").eval()
    inputs = make_inputs(5, 3)
    image, image_mask, text, text_mask = head.project_tokens(inputs)
    attended = [
        head.ways[0](image, text, text_mask).relu().sum(1),
        head.ways[1](text, image, image_mask).relu().sum(1),
        head.ways[2](image, image, image_mask).relu().sum(1),
    ]
    if ways == 4:
        attended.append(head.ways[3](text, text, text_mask).relu().sum(1))
    positions = 5 + 3 + 5 + 3 * (ways == 4)
    torch.testing.assert_close(head(inputs), head.classify(sum(attended) / positions))


def test_the_last_token_is_the_last_unmasked_one() -> None:
    tokens = torch.arange(24.0).view(3, 4, 2)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    assert last(tokens, mask).tolist() == [[6.0, 7.0], [10.0, 11.0], [16.0, 17.0]]


def test_each_direction_of_mult_attends_to_the_input_of_the_other() -> None:
    head, inputs = build_head("mult", DIMS, hidden=8).eval(), make_inputs(5, 3)
    seen: list[Tensor] = []
    for block in head.image_layers:
        block.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    head(inputs)
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])


def test_the_encoder_reads_both_pooled_positions() -> None:
    head, inputs = build_head("transformer", DIMS, hidden=8, layers=1).eval(), make_inputs(5, 3)
    image, image_mask, text, text_mask = head.project_tokens(inputs)
    both, mask = torch.cat([image, text], 1), torch.cat([image_mask, text_mask], 1)
    whole = head.layers[0](both, both, mask)
    torch.testing.assert_close(head(inputs), head.classify(torch.cat([whole[:, 0], whole[:, 5]], -1)))
