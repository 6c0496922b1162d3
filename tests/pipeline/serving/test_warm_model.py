"""Posts in memory get the numbers of `msa predict`, alone and in a batch, and one that fails costs no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from served_runs import (
    COLOUR,
    COLOURS,
    CPU,
    HEAD,
    SOURCES,
    SPELLED,
    WORDS,
    Colours,
    N,
    Served,
    Spelled,
    picture,
    served_run,
)

from msa.features.encoders.encoder import Encoded
from msa.pipeline import predict
from msa.pipeline.predict import Predictions, predict_corpus, predict_post
from msa.pipeline.serving import warm_model
from msa.pipeline.serving.warm_model import WarmModel

HEADS = {
    "tokens": HEAD,
    "pooled": replace(HEAD, fusion="gated", inputs="pooled"),
    "classifier": replace(HEAD, fusion="gated+estimator:sklearn.svm.SVC", inputs="pooled", ensemble_size=2),
    "reduced": replace(HEAD, token_width=2, ensemble_size=2, patches=(1, 2)),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """The run of a head by its name in HEADS, trained once."""
    return cache(lambda name: served_run(tmp_path_factory.mktemp(name), HEADS[name]))


@pytest.fixture(params=HEADS)
def served(request: pytest.FixtureRequest, runs: Callable[[str], Served]) -> Served:
    return runs(request.param)


@pytest.fixture
def simple(runs: Callable[[str], Served]) -> Served:
    return runs("tokens")


def found(one: Predictions | ValueError) -> Predictions:
    assert isinstance(one, Predictions), one
    return one


def test_the_numbers_are_those_of_predict(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "run_sources", lambda *given: SOURCES)
    expected = predict_corpus(served.folder, replace(served.corpus, samples=served.corpus.samples[: N - 2]), rows="all")
    model = served.model()
    posts = [
        model.prepare(post.image.read_bytes() if post.image else None, str(post.text))
        for post in served.corpus.samples[: N - 2]
    ]
    together = [found(one) for one in model.predict(posts)]
    alone = [found(model.predict([post])[0]) for post in posts[:4]]
    np.testing.assert_allclose(
        np.concatenate([one.probabilities for one in together]), expected.probabilities, atol=1e-5
    )
    np.testing.assert_allclose([one.probabilities[0] for one in alone], expected.probabilities[:4], atol=1e-5)
    assert [one.labels[0] for one in together] == expected.labels
    assert len(set(expected.labels)) > 1

    file = served.corpus.root / "new.png"
    file.write_bytes(picture(COLOURS["glad"], 999))
    for image, text in ((file, "an awful day indeed"), (file, None), (None, "a quiet day")):
        single = predict_post(served.folder, image=image, text=text, settings=CPU)
        (warm,) = model.predict([model.prepare(image.read_bytes() if image else None, text)])
        np.testing.assert_allclose(found(warm).probabilities, single.probabilities, atol=1e-5)


def test_views_are_averaged_with_the_plain_picture(runs: Callable[[str], Served]) -> None:
    served = runs("pooled")
    view = replace(COLOUR, name="colour@view1")

    class Swapped(Colours):
        specs = (view,)

        def encode(self, batch: list[np.ndarray]) -> tuple[Encoded, ...]:  # type: ignore[type-arg]
            return super().encode([one[:, ::-1] for one in batch])

    run = replace(served.run, views=((view,),), config=replace(served.run.config, views=1, average_views=True))
    encoders = {COLOUR.slug: Colours(), SPELLED.slug: Spelled(), view.slug: Swapped()}
    plain, averaged = served.model(), WarmModel(run, encoders, CPU)
    post = plain.prepare(picture(COLOURS["glad"]), WORDS["glad"])
    with_view = averaged.prepare(picture(COLOURS["glad"]), WORDS["glad"])
    table, _ = averaged.features([with_view])
    assert table.image is not None
    np.testing.assert_allclose(table.image.views[0].pooled, table.image.pooled[:, ::-1], atol=1e-3)
    first, second = found(plain.predict([post])[0]), found(averaged.predict([with_view])[0])
    assert np.abs(first.probabilities - second.probabilities).max() > 1e-3


def test_what_cannot_be_read_is_said(simple: Served) -> None:
    model = simple.model()
    good = picture(COLOURS["calm"])
    for image, text, reason in (
        (None, None, "neither image nor text; the run reads an image or a text"),
        (None, " \n\u200b", "neither image nor text"),
        (good[:60], "a day", "the post's image cannot be embedded: truncated PNG"),
        (b"", None, "the post's image cannot be embedded: empty file"),
        (None, "unknowable", "the post's text cannot be embedded: no word of it is known"),
        (None, "bi\0nary", "the post's text cannot be embedded: binary, not text"),
    ):
        with pytest.raises(ValueError, match=reason):
            model.prepare(image, text)
    assert model.prepare(good, " ").text is None


def test_a_modality_that_the_run_does_not_read_is_named(runs: Callable[[str], Served]) -> None:
    served = runs("pooled")
    run = replace(served.run, specs={"image": (), "text": served.run.specs["text"]})
    model = WarmModel(run, {SPELLED.slug: Spelled()}, CPU)
    assert model.reads == ("text",)
    assert model.prepare(b"no picture, and never read", "a day").unused == ("image",)
    with pytest.raises(ValueError, match="the post has image; the run reads a text"):
        model.prepare(picture(COLOURS["calm"]), None)


def test_a_post_that_fails_costs_no_other_its_answer(simple: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = simple.model()
    posts = [model.prepare(None, text) for text in ("a day", "a huge day", "a quiet day")]
    expected = [found(one).probabilities for one in model.predict(posts)]
    plain = Spelled.encode

    def overflow(self: Spelled, batch: list[list[np.ndarray]]) -> tuple[Encoded, ...]:  # type: ignore[type-arg]
        (encoded,) = plain(self, batch)
        huge = [row for row, one in enumerate(batch) if len(one) == 3 and one[1][4] > 0.2]
        for row in huge:
            encoded.tokens[row][:] = 1e6
        return (encoded,)

    huge = posts[1].inputs[SPELLED.slug]
    huge[1][:] = 1
    monkeypatch.setattr(Spelled, "encode", overflow)
    answers = model.predict([posts[0], posts[1]])
    assert isinstance(answers[1], ValueError)
    assert "the post's text cannot be embedded: spelled gave values beyond float16" in str(answers[1])
    np.testing.assert_allclose(found(answers[0]).probabilities, expected[0], atol=1e-6)

    honest = warm_model.predict_table

    def refusing(run: object, table: object, *given: object) -> Predictions:
        if len(table.posts.ids) > 1:  # type: ignore[attr-defined]
            raise ValueError("the heads give NaN")
        return honest(run, table, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(warm_model, "predict_table", refusing)
    assert [one.labels for one in map(found, model.predict([posts[0], posts[2]]))] == [
        [simple.run.classes[int(expected[at].argmax())]] for at in (0, 2)
    ]


def test_warming_needs_no_post_that_an_encoder_can_read(simple: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_model, "WARM_TEXT", "unknowable")
    simple.model().warm()
