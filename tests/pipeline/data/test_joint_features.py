"""What embeds image and text together: every pooled head reads it, and nothing that lacks either does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from estimator_inputs import TABICL, small_options
from joint_features import NO_IMAGE, NO_TEXT, WIDTHS, N, joint_posts

from msa.heads.base import Head
from msa.heads.registry import ENTRIES, build_head
from msa.pipeline.ablation.occlusion import Replacement, remove
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.data.inputs import build_inputs, dims_of, mask_modality
from msa.pipeline.data.join import tied_by
from msa.pipeline.data.ragged_inputs import RaggedInputs
from msa.pipeline.data.split import Fold
from msa.pipeline.evaluation.baselines import SYSTEMS, baseline_predictions
from msa.pipeline.training.augment import hide_modality
from msa.pipeline.training.fold_inputs import FoldInputs, InputsKey

FUSIONS = [name for name, info in ENTRIES.items() if info.inputs == "pooled" and name not in ("image", "text")]
ROWS = torch.arange(N)
JOINT = slice(WIDTHS["text"], None)
INCOMPLETE = sorted({*NO_IMAGE, *NO_TEXT})


def inputs_of(*, other: bool = False, plain: bool = True) -> RaggedInputs:
    return build_inputs(joint_posts(other=other, plain=plain), tokens=False)


def logits(head: Head, inputs: RaggedInputs) -> torch.Tensor:
    with torch.no_grad():
        return head(inputs.take(ROWS))


@pytest.mark.parametrize("name", FUSIONS)
def test_every_pooled_head_reads_it_where_a_post_has_both(name: str) -> None:
    plain, changed = inputs_of(), inputs_of(other=True)
    dims = dims_of(plain, joint_posts())
    assert dims.text_parts == (6, 4)
    head = build_head(name, dims, hidden=16, seed=0, **(small_options(name) if name.startswith("estimator") else {}))
    head = head.eval()
    head.prepare(plain.pooled(), torch.from_numpy(joint_posts().targets()), ROWS)
    moved = (logits(head, plain) - logits(head, changed)).abs().amax(1)
    assert moved.max() > 1e-4
    assert torch.equal(moved[INCOMPLETE], torch.zeros(len(INCOMPLETE)))
    for modality in ("image", "text"):
        without = [logits(head, mask_modality(one, modality)) for one in (plain, changed)]
        assert torch.equal(*without)
        assert name == TABICL or not torch.equal(without[0], logits(head, plain))


def test_heads_of_one_modality_do_not_read_it() -> None:
    table = joint_posts()
    inputs = FoldInputs.build(table, InputsKey.of(HeadConfig("image"), np.arange(N), None), "cpu")
    head = inputs.head(HeadConfig("image"), 0).eval()
    assert torch.equal(logits(head, inputs_of()), logits(head, inputs_of(other=True)))
    with pytest.raises(
        ValueError, match=r"--fusion text is the text alone, and an encoder NAME@joint embeds the image"
    ):
        inputs.head(HeadConfig("text"), 0)


@pytest.mark.parametrize("plain", [True, False])
def test_a_post_without_its_image_has_its_own_text_alone(plain: bool) -> None:
    inputs = mask_modality(inputs_of(plain=plain), "image")
    vectors, mask = inputs.text.take(ROWS)
    if plain:
        assert torch.equal(vectors[..., JOINT], torch.zeros(N, 1, WIDTHS["joint"]))
        assert torch.equal(vectors[..., : WIDTHS["text"]], inputs_of().text.take(ROWS)[0][..., : WIDTHS["text"]])
        assert torch.equal(mask, inputs_of().text.take(ROWS)[1])
    else:
        assert not mask.any()
    assert torch.equal(inputs.copied(ROWS).text.pooled()[0], vectors)  # also of values that are mapped from files
    chosen = torch.tensor([7, 3])
    some = mask_modality(inputs_of(plain=plain).select(chosen), "image")
    assert torch.equal(
        some.text.take(torch.arange(2))[0] * mask[chosen, :, None], vectors[chosen] * mask[chosen, :, None]
    )


@pytest.mark.parametrize("how", ["zero", "mean", "shuffle", "null"])
def test_an_occluded_image_takes_it_away(how: Replacement) -> None:
    given = [inputs_of(), inputs_of(other=True)]
    train = torch.arange(20)
    found = [remove(how, one, "image", posts=one, train=train, seed=(0, 0)).take(ROWS) for one in given]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("plain", [True, False])
def test_a_hidden_image_takes_it_away_in_training(plain: bool) -> None:
    inputs = inputs_of(plain=plain)
    batch = inputs.take(ROWS)
    hidden = hide_modality(batch, 0.8, torch.Generator().manual_seed(0), inputs.joint)
    gone = batch.image_mask[:, 0] & ~hidden.image_mask[:, 0]
    assert gone.any()
    assert inputs.joint is not None
    assert not hidden.text[gone][..., inputs.joint].any()
    assert torch.equal(hidden.text[~gone], batch.text[~gone])
    assert hidden.text_mask[gone].all() == plain


def test_probes_of_one_modality_do_not_read_it_and_it_has_its_own() -> None:
    cuts = np.split(np.random.default_rng(0).permutation(N), [30, 45])
    fold = Fold(*cuts)
    tables = [joint_posts(other=other) for other in (False, True)]
    found = [baseline_predictions(table, [fold], seed=0, systems=SYSTEMS) for table in tables]
    assert set(found[0]) == set(SYSTEMS)
    for name in ("linear_image", "linear_text"):
        assert np.array_equal(found[0][name][0], found[1][name][0])
    assert not np.array_equal(found[0]["linear_joint"][0], found[1]["linear_joint"][0])
    alone = baseline_predictions(joint_posts(plain=False), [fold], seed=0, systems=("linear_text", "linear_joint"))
    assert set(alone) == {"linear_joint"}


def test_both_parts_tie_posts() -> None:
    assert tied_by("both", {"post"}) == ("image", "text")
    assert tied_by("text", {"post", "image"}) == ("text",)
