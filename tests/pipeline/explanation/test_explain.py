"""What an explanation puts where: planted patches and words, weights, opinions, folds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from planted import CLASSES, SIDE, WIDTH, image_spec, planted_head, planted_run, planted_table, side, text_spec

from msa.features.encoders.zoo import open_encoder
from msa.heads.base import Dims
from msa.heads.registry import build_head
from msa.pipeline.data.cached_features import CachedFeatures
from msa.pipeline.explanation.explain import explain, with_folds
from msa.pipeline.explanation.explanation import Explanation
from msa.pipeline.explanation.originals import Original
from msa.pipeline.metrics.probabilities import mean_probabilities
from msa.pipeline.runs.run_predictions import run_logits

TEXTS = ["so unbelievably happy", "a dull day"]
PATCH = 3 * SIDE + 5  # row 3, column 5


@pytest.fixture(scope="module")
def splitters() -> dict[str, object]:
    words = open_encoder("minilm", "text").words
    assert words is not None
    return {text_spec().slug: words()}


def table(splitters: dict[str, object]) -> CachedFeatures:
    """Two posts: a patch and a piece of the second word are planted in the first, a word alone in the second."""
    found = [splitters[text_spec().slug](text) for text in TEXTS]  # type: ignore[operator]
    pieces = [found[0].words[1].positions[2], found[1].words[2].positions[0]]
    images = side(image_spec(), [SIDE * SIDE, 0], [PATCH, None])
    return planted_table(images, side(text_spec(), [one.tokens for one in found], pieces))


def explained(splitters: dict[str, object], **options: object) -> list[Explanation]:
    originals = [Original(TEXTS[0], (200, 300)), Original(TEXTS[1], None)]
    return explain(planted_run(), table(splitters), originals, splitters=splitters, **options)  # type: ignore[arg-type]


def test_the_planted_patch_and_the_planted_word_get_the_attention(splitters: dict[str, object]) -> None:
    first, second = explained(splitters)
    (image,), (text,) = first.images, first.texts
    assert image.weights.shape == (SIDE, SIDE)
    assert image.weights[3, 5] > 0.99
    assert text.words == ("so", "unbelievably", "happy")
    assert text.weights[1] > 0.99
    assert second.images == ()
    assert second.texts[0].words == ("a", "dull", "day")
    assert second.texts[0].weights.argmax() == 2
    assert image.weights.sum() == pytest.approx(1)
    assert image.layers["text_layers.0"].shape == (2, SIDE, SIDE)
    assert text.layers["image_layers.0"].shape == (2, 3)


def test_the_patches_lie_over_what_the_encoder_sees_of_the_picture(splitters: dict[str, object]) -> None:
    (image,) = explained(splitters)[0].images
    assert image.size == (200, 300)
    top, left, bottom, right = image.box or (0, 0, 0, 0)
    assert (top, bottom) == pytest.approx((12.5, 187.5))  # 224 of 256 pixels of the short side
    assert (left, right) == pytest.approx((62.5, 237.5), abs=0.5)


def test_layers_say_what_their_queries_attended_to_in_all(splitters: dict[str, object]) -> None:
    for one in explained(splitters):
        assert [(layer.layer, layer.queries, layer.keys) for layer in one.layers] == [
            ("image_layers.0", "image", "text"),
            ("text_layers.0", "text", "image"),
        ]
        for layer in one.layers:
            assert sum(layer.shares.values()) == pytest.approx(1)
        assert one.layers[0].shares["words"] > 0.99
    first, second = explained(splitters)
    assert first.layers[1].shares["patches"] > 0.99
    assert second.layers[1].shares["patches"] == 0  # it has no image
    assert second.layers[1].shares["image vector"] > 0


def test_probabilities_are_the_runs_and_opinions_its_own_with_a_modality_absent(splitters: dict[str, object]) -> None:
    run, posts = planted_run(), table(splitters)
    first, second = explained(splitters)
    expected = mean_probabilities(run_logits(run, posts), run.temperatures)
    np.testing.assert_allclose([first.probabilities, second.probabilities], expected)
    assert first.label == CLASSES[int(expected[0].argmax())]
    assert (first.truth, first.folds, first.held_out) == ("good", (0, 1), False)
    assert set(first.alone) == {"image", "text"}
    np.testing.assert_allclose(first.opinions["image", "text"], first.probabilities)
    np.testing.assert_allclose(second.opinions["text",], second.probabilities)  # it has no image anyway
    assert abs(first.opinions["text",] - first.probabilities).max() > 1e-6


def test_a_post_is_explained_by_the_folds_that_never_saw_it(splitters: dict[str, object]) -> None:
    run, posts = planted_run(), table(splitters)
    first, second = explained(splitters, folds=[(1,), ()])
    assert (first.folds, first.held_out, second.folds, second.held_out) == ((1,), True, (0, 1), False)
    alone = mean_probabilities(run_logits(with_folds(run, [1]), posts), [1.0])
    np.testing.assert_allclose(first.probabilities, alone[0])
    assert abs(first.probabilities - mean_probabilities(run_logits(run, posts))[0]).max() > 1e-4


def test_special_tokens_are_no_words(splitters: dict[str, object]) -> None:
    posts = table(splitters)
    text = side(text_spec(), [8, 5], [0, None])  # the planted one is [CLS]
    one = explain(
        planted_run(),
        planted_table(posts.image, text),
        [Original("so unbelievably", None)] * 2,
        splitters=splitters,  # type: ignore[arg-type]
    )[0]
    assert one.layers[0].shares["special tokens"] > 0.99
    assert one.layers[0].shares["words"] < 0.01


def test_without_the_tokenizer_tokens_are_numbered_and_that_is_noted(splitters: dict[str, object]) -> None:
    one = explain(planted_run(), table(splitters), [Original(TEXTS[0], (20, 30)), Original(None, None)])[0]
    assert one.texts[0].words[:2] == ("token 1", "token 2")
    assert [*map(str, one.notes)] == ["minilm: tokens are numbered, as its words are not known"]
    other = [Original("short", None)] * 2
    (note,) = explain(planted_run(), table(splitters), other, splitters=splitters)[0].notes  # type: ignore[arg-type]
    assert str(note) == "minilm: tokens are numbered, as the text gives 3 tokens here and the features have 9"


@pytest.mark.parametrize("fusion", ["gated", "weighted", "late"])
def test_weights_of_the_modalities_add_up_to_one(fusion: str, splitters: dict[str, object]) -> None:
    heads = [build_head(fusion, Dims(WIDTH, WIDTH, 2), hidden=WIDTH, seed=seed).eval() for seed in (0, 1)]
    first, second = explain(
        planted_run(heads, fusion),
        table(splitters),
        [Original(None, None)] * 2,
        splitters=splitters,  # type: ignore[arg-type]
    )
    assert sum(first.modality_weights.values()) == pytest.approx(1)
    if fusion == "late":
        assert second.modality_weights == {"image": 0, "text": 1}


def test_a_head_without_attention_says_so(splitters: dict[str, object]) -> None:
    run = planted_run([build_head("kernel", Dims(WIDTH, WIDTH, 2), hidden=4, landmarks=5)], "kernel")
    (one, _) = explain(run, table(splitters), [Original(None, None)] * 2)
    assert [*map(str, one.notes)] == ["kernel has neither attention nor weights of the modalities"]
    assert (one.layers, one.images, one.texts, one.modality_weights) == ((), (), (), {})


def test_layers_of_an_ensemble_of_several_fusions_are_named_with_theirs(splitters: dict[str, object]) -> None:
    gated = build_head("gated", Dims(WIDTH, WIDTH, 2), hidden=WIDTH)
    run = planted_run([planted_head(), gated])
    config = replace(run.config, fusion="coattention+gated", ensemble_size=2)
    run = replace(run, config=config, reductions=[{}], temperatures=())
    (one, _) = explain(run, table(splitters), [Original(None, None)] * 2)
    assert [layer.layer for layer in one.layers] == [
        "coattention: image_layers.0",
        "coattention: text_layers.0",
        "gated: pooling",
        "gated: pooling",
    ]
    assert set(one.modality_weights) == {"image", "text"}


def test_an_explanation_is_json(splitters: dict[str, object]) -> None:
    first, second = (json.loads(json.dumps(one.to_dict())) for one in explained(splitters))
    assert first["images"][0]["weights"][3][5] > 0.99
    assert first["texts"][0]["words"][1] == "unbelievably"
    assert len(first["images"][0]["box"]) == 4
    assert [one["from"] for one in first["opinions"]] == [["image", "text"], ["image"], ["text"], []]
    assert second["images"] == []
