"""Any head trains on top of towers: shapes, gradients, missing modalities, padding, vmap."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from msa.heads.base import Dims, Head, Inputs
from msa.heads.dropout import set_dropout
from msa.heads.positions import sinusoids
from msa.heads.registry import HEADS, build_head, head_info
from msa.heads.towers import IMAGES_PER_PASS, WORD_SCALE, Towers, WordTower

SIDE, WORDS = 32, 50
RAW = Dims(3 * SIDE, 1, 3)
BOTH = Towers(image=True, vocabulary=WORDS, width=16, layers=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str, towers: Towers = BOTH, dims: Dims = RAW, *, seed: int = 0, dropout: float = 0.0) -> Head:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return towers.wrap(
            lambda inner: build_head(name, inner, hidden=16, dropout=dropout, seed=seed), dims, dropout=dropout
        )


def posts(number: int = 4, words: int = 6) -> Inputs:
    """Noise for pixels and ids; texts of several lengths."""
    draw = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (number, 1 + SIDE, 3 * SIDE), generator=draw).float()
    text = torch.randint(0, WORDS, (number, 1 + words, 1), generator=draw).float()
    lengths = torch.randint(2, 2 + words, (number, 1), generator=draw)
    return Inputs(image, torch.ones(number, 1 + SIDE, dtype=torch.bool), text, torch.arange(1 + words) < lengths)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_learns_through_its_towers(name: str) -> None:
    towers = Towers(image=True, vocabulary=WORDS, width=16, layers=1, tokens=head_info(name).inputs == "tokens")
    head = build(name, towers)
    assert head.dims == RAW
    inputs = posts()
    parts = head.parts(inputs)
    assert head(inputs).shape == (4, 3)
    assert parts.shape[1:] == (4, 3)
    # Two modalities, one of them missing in some posts, so that the null vectors are reached as well.
    half = inputs._replace(image_mask=inputs.image_mask.clone(), text_mask=inputs.text_mask.clone())
    half.image_mask[0], half.text_mask[1] = False, False
    (head(half).sum() + (head.parts(half) ** 2).sum() + (parts**2).sum()).backward()
    towered = [(n, p) for n, p in head.named_parameters() if not n.startswith("head.")]
    assert towered
    assert [n for n, p in towered if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", ["concat", "attention", "coattention"])
def test_posts_without_any_image_or_text_have_the_logits_that_they_have_in_a_batch(name: str) -> None:
    head, inputs = build(name).eval(), posts()
    inputs.image_mask[:2], inputs.text_mask[:2] = False, False
    # Batches are cut to their longest post: one without images and texts has the first position only.
    alone = Inputs(*(x[:2, :1] for x in inputs))
    torch.testing.assert_close(head(alone), head(inputs)[:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["concat", "attention", "coattention"])
def test_padding_and_other_posts_do_not_change_the_logits(name: str) -> None:
    head = build(name).eval()
    inputs = posts(number=IMAGES_PER_PASS + 3)
    logits = head(inputs)
    padded = inputs._replace(
        text=torch.nn.functional.pad(inputs.text, (0, 0, 0, 3), value=torch.nan),
        text_mask=torch.nn.functional.pad(inputs.text_mask, (0, 3)),
    )
    torch.testing.assert_close(head(padded), logits, atol=1e-5, rtol=0)
    alone = Inputs(*(x[-1:] for x in inputs))
    torch.testing.assert_close(head(alone), logits[-1:], atol=1e-5, rtol=0)
    integers = inputs._replace(image=inputs.image.to(torch.uint8), text=inputs.text.int())
    torch.testing.assert_close(head(integers), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["concat", "attention"])
def test_a_missing_modality_is_never_read(name: str) -> None:
    head = build(name).eval()
    inputs = posts()
    blank = inputs._replace(image_mask=inputs.image_mask & False)
    noise = blank._replace(image=torch.full_like(blank.image, torch.nan))
    cut = blank._replace(image=blank.image[:, :1], image_mask=blank.image_mask[:, :1])
    assert head(blank).isfinite().all()
    assert torch.equal(head(noise), head(blank))
    torch.testing.assert_close(head(cut), head(blank), atol=1e-6, rtol=0)
    without_text = inputs._replace(text_mask=inputs.text_mask & False)
    assert torch.equal(head(without_text._replace(text=without_text.text.fill_(-7.0))), head(without_text))


def test_one_tower_leaves_the_other_modality_as_it_is() -> None:
    dims = Dims(3 * SIDE, 5, 3)
    head = build("gated", Towers(image=True, width=16, tokens=False), dims)
    inputs = posts()._replace(text=torch.randn(4, 7, 5))
    assert head(inputs).shape == (4, 3)
    assert not Towers()
    assert type(build("gated", Towers(), Dims(4, 5, 3))) is type(build_head("gated", Dims(4, 5, 3)))
    assert not [n for n, _ in build("text").named_parameters() if n.startswith("image")]


def test_towers_learn_from_pixels_and_words() -> None:
    inputs, labels = posts(16), torch.arange(16) % 2
    head = build("concat", dropout=0.1)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for step in range(60):
        set_dropout(head, seed=0, step=step)
        loss = torch.nn.functional.cross_entropy(head(inputs)[:, :2], labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (head.eval()(inputs)[:, :2].argmax(1) == labels).all()


def test_new_words_are_small_and_whole_words_are_dropped() -> None:
    tower = build("concat", dropout=0.5).text
    assert isinstance(tower, WordTower)
    assert float(tower.embed.weight.detach().std()) == pytest.approx(WORD_SCALE, rel=0.1)
    tower.layers = torch.nn.ModuleList()
    tower.dropout.p = 0.0  # of single elements
    inputs = posts()
    set_dropout(tower, seed=0, step=0)
    words = tower(inputs.text, inputs.text_mask)[0][:, 1:]
    positions = WORD_SCALE * sinusoids(words.shape[1], words.shape[2])
    dropped = (words == positions).all(-1)
    assert 0 < int(dropped.sum()) < dropped.numel()
    assert torch.equal(dropped, (words == positions).any(-1))
    assert not (tower.eval()(inputs.text, inputs.text_mask)[0][:, 1:] == positions).any()


def test_stacked_towers_run_under_vmap() -> None:
    heads = [build("concat", seed=seed).eval() for seed in (0, 1)]
    parameters, buffers = stack_module_state(heads)  # type: ignore[arg-type]
    inputs = posts()

    def one(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(heads[0], (p, b), (inputs,))
        return logits

    together = vmap(one)(parameters, buffers)
    for head, logits in zip(heads, together, strict=True):
        torch.testing.assert_close(logits, head(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("change", "message"), [({"width": 6}, "multiple of 4"), ({"layers": 0}, "1 layer or more")])
def test_towers_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Towers(image=True, **change)  # type: ignore[arg-type]


def test_a_head_on_towers_is_built_for_their_width_alone() -> None:
    raw = Dims(672, 1, 3, image_parts=(672,), text_parts=(1,))
    dims = Towers(image=True, vocabulary=40, width=32).dims(raw)
    assert (dims.image, dims.text, dims.parts("image"), dims.parts("text")) == (32, 32, (32,), (32,))
