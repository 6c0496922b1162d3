from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from msa.features.encoders.tower import ImageTower, TextTower, pick_states
from msa.features.spec import EncoderSpec

SPEC = EncoderSpec("m", "image", "timm", "M", "sha256:0", "last", "mean", "{}", 2, "float32")


class Backbone(nn.Module):
    """Two layers out of the pixels' mean m: (m, 2m) four times and (m, m, m) twice, and a vector of the model's own."""

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        mean = pixels.mean((1, 2, 3)).view(-1, 1, 1)  # (B, 1, 1)
        last = torch.cat([mean, 2 * mean], 2).repeat(1, 4, 1) * torch.tensor([9.0, 1.0, 2.0, 3.0]).view(1, 4, 1)
        return [last, mean.repeat(1, 2, 3)], mean[:, 0]


class Words(nn.Module):
    """Ids as one layer of width 1; remembers the mask it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor | None] = []

    def forward(self, ids: Tensor, kinds: Tensor | None, mask: Tensor | None) -> tuple[list[Tensor], None]:
        self.masks.append(mask)
        return [ids.unsqueeze(-1).float()], None


def pixels(*values: int) -> Tensor:
    return torch.stack([torch.full((3, 2, 2), value, dtype=torch.uint8) for value in values])


def test_each_spec_gets_its_layer_and_its_pooling() -> None:
    specs = [
        SPEC,
        replace(SPEC, pool="max"),
        replace(SPEC, layer="inner", width=3),
        replace(SPEC, pool="cls"),
        replace(SPEC, pool="pooler", width=1),
    ]
    tower = ImageTower(Backbone(), specs, mean=[0.0] * 3, std=[1.0] * 3, scale=1.0, prefix=1)
    outputs = tower(pixels(1, 10))
    assert [tuple(output.shape) for output in outputs[:2]] == [(2, 4, 2), (2, 2, 3)]  # each layer once
    encoded = tower.encoded(outputs)
    assert [item.pooled[1].tolist() for item in encoded] == [
        [20.0, 40.0],  # without the first token, which is no patch
        [30.0, 60.0],
        [10.0, 10.0, 10.0],
        [90.0, 180.0],
        [10.0],
    ]
    assert [item.tokens[0].shape for item in encoded] == [(4, 2), (4, 2), (2, 3), (4, 2), (4, 2)]
    assert encoded[0].tokens[1][0].tolist() == [90.0, 180.0]


def test_pixels_are_scaled_and_normalised() -> None:
    specs = [replace(SPEC, pool="pooler", width=1), replace(SPEC, layer="inner", width=3)]
    tower = ImageTower(Backbone(), specs, mean=[0.5] * 3, std=[0.25] * 3)
    encoded, _ = tower.encoded(tower(pixels(255, 0)))
    np.testing.assert_allclose(encoded.pooled, [[2.0], [-2.0]], atol=1e-6)


@pytest.mark.parametrize("unmasked", [True, False])
def test_padding_is_no_token_and_a_model_may_be_kept_from_the_mask(unmasked: bool) -> None:
    backbone = Words()
    tower = TextTower(backbone, [replace(SPEC, modality="text", width=1)], unmasked=unmasked)
    ids, mask = torch.tensor([[3, 5, 0], [1, 2, 6]]), torch.tensor([[True, True, False], [True, True, True]])
    (encoded,) = tower.encoded(tower(ids, None, mask), [2, 3])
    assert encoded.pooled.tolist() == [[4.0], [3.0]]
    assert [tokens[:, 0].tolist() for tokens in encoded.tokens] == [[3.0, 5.0], [1.0, 2.0, 6.0]]
    assert backbone.masks == [None] if unmasked else backbone.masks[0] is mask


def test_states_are_picked_by_name() -> None:
    class Output:
        last_hidden_state = torch.tensor(9)
        hidden_states = tuple(torch.tensor(number) for number in range(12))

    picked = pick_states(Output(), ["hidden_states[-11]", "last_hidden_state", "hidden_states[-2]"])
    assert [int(state) for state in picked] == [1, 9, 10]
