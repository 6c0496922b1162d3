"""The head of a greedy ensemble: weights, columns, masks, and that stored weights fit."""

from __future__ import annotations

import torch

from msa.heads.base import Dims, Head, Inputs
from msa.heads.recording import record
from msa.heads.registry import build_head
from msa.heads.towers import Towers
from msa.pipeline.config.ensemble_config import GREEDY, EnsembleConfig, Member
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.training.ensemble_head import EnsembleHead, build_stored, member_dims, member_inputs

DIMS = Dims(7, 4, 3, image_parts=(2, 5), text_parts=(4,))
CONFIG = HeadConfig("gated", hidden=4)
ONE = Member(0, 3, CONFIG, TrainConfig(), (1,), None)
OTHER = Member(1, 1, CONFIG, TrainConfig(), (1, 0), ())


def inputs() -> Inputs:
    draw = torch.Generator().manual_seed(0)
    image, text = torch.randn(6, 1, 7, generator=draw), torch.randn(6, 1, 4, generator=draw)
    image[2, :, 2:] = 0  # the second encoder has no features of this post
    seen = torch.ones(6, 1, dtype=torch.bool)
    return Inputs(image, seen, text, seen & (torch.arange(6) != 4)[:, None])


def heads() -> list[Head]:
    return [build_head("gated", member_dims(one, DIMS), hidden=4, seed=n).eval() for n, one in enumerate((ONE, OTHER))]


def test_a_member_reads_the_columns_of_its_encoders_in_its_own_order() -> None:
    whole = inputs()
    assert member_dims(OTHER, DIMS) == Dims(7, 1, 3, image_parts=(5, 2))
    own = member_inputs(OTHER, whole, DIMS)
    assert torch.equal(own.image, torch.cat([whole.image[..., 2:], whole.image[..., :2]], -1))
    assert not own.text_mask.any()
    own = member_inputs(ONE, whole, DIMS)
    assert own.image_mask[:, 0].tolist() == [True, True, False, True, True, True]
    assert torch.equal(own.text_mask, whole.text_mask)


def test_the_prediction_is_the_weighted_mean_thresholds_included() -> None:
    members, given = heads(), inputs()
    members[0].offsets += torch.tensor([0.0, 1.0, 2.0])
    shown = [member_inputs(one, given, DIMS) for one in (ONE, OTHER)]
    found = [(head(own) + head.offsets).softmax(-1) for head, own in zip(members, shown, strict=True)]
    joined = EnsembleHead(members, [ONE, OTHER], DIMS)
    torch.testing.assert_close(joined(given).softmax(-1), 0.75 * found[0] + 0.25 * found[1])
    with record(joined) as recording:
        joined(given)
    assert not recording.maps
    assert not recording.shares


def test_stored_weights_fit_a_head_built_from_its_config() -> None:
    joined = EnsembleHead(heads(), [ONE, OTHER], DIMS).eval()
    again = build_stored(EnsembleConfig(GREEDY, members=((ONE, OTHER),)), 0, DIMS, Towers()).eval()
    again.load_state_dict(joined.state_dict())
    assert torch.equal(again(inputs()), joined(inputs()))
