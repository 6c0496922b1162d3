"""Posts with one to three images, from the table to predictions: every way to predict sees all of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from served_runs import COLOURS, CPU, HEAD, QUICK, SOURCES, WORDS, picture

from msa.features.extraction.embed import embed_corpus
from msa.features.posts.layouts import read_corpus
from msa.features.posts.samples import Corpus
from msa.pipeline import explain_posts, predict
from msa.pipeline.ablation.occlusion import remove
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.data.cached_features import find_spec, load_features
from msa.pipeline.data.inputs import build_inputs
from msa.pipeline.explain_posts import explain_ids
from msa.pipeline.inspection.sources import PostSource
from msa.pipeline.predict import Predictions, predict_corpus
from msa.pipeline.runs.runs import load_run
from msa.pipeline.scoring import score
from msa.pipeline.scoring.score import score_corpus
from msa.pipeline.train_head import train_head

N = 36


def draw_table(folder: Path) -> Corpus:
    """Posts whose label is the colour of their last image; before it come grey ones, and one that is damaged."""
    rows = []
    for number in range(N):
        label = [*COLOURS][number % 3]
        names = [f"{number}-{place}.png" for place in range(1 + number % 3)]
        for place, name in enumerate(names):
            colour = COLOURS[label] if place == len(names) - 1 else (120, 120, 120)
            (folder / name).write_bytes(picture(colour, 100 * number + place))
        rows.append([f"p{number}", ";".join(names), WORDS["calm"] + f" {number}", label])
    (folder / "1-0.png").write_bytes(b"no picture")
    with (folder / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "image", "text", "label"], *rows])
    return read_corpus(folder / "posts.csv")


@dataclass(frozen=True)
class Made:
    corpus: Corpus
    data: DataConfig
    run: Path
    predictions: Predictions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("posts")
    corpus = draw_table(folder)
    embed_corpus(corpus, SOURCES, folder / "cache", CPU)
    data = DataConfig(folder / "cache", ("colour",), ("spelled",), folds=2, device="cpu")
    run = train_head(corpus, data, HEAD, replace(QUICK, epochs=25), runs=folder / "runs").run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "run_sources", lambda *given: SOURCES)
        return Made(corpus, data, run, predict_corpus(run, corpus, rows="all", settings=CPU))


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (predict, score, explain_posts):
        monkeypatch.setattr(module, "run_sources", lambda *given: SOURCES)


def test_heads_learn_from_the_images_after_the_first(made: Made) -> None:
    several = [row for row, one in enumerate(made.corpus.samples) if one.more_images]
    assert len(several) == N * 2 // 3
    right = [made.predictions.labels[row] == made.corpus.samples[row].label for row in several]
    assert np.mean(right) > 0.8, "first images are grey"


@pytest.mark.parametrize("options", [{}, {"keep_features": False}, {"block_posts": 7}])
def test_blocks_without_a_cache_predict_the_same(made: Made, tmp_path: Path, options: dict[str, bool]) -> None:
    out = tmp_path / "scores.csv"
    found = score_corpus(made.run, made.corpus, out, rows="all", settings=CPU, **{"block_posts": 10, **options})  # type: ignore[arg-type]
    assert (found.counts["bad"], found.counts["further images"], found.counts["blind"]) == (1, N, 0)
    assert f"{N} images beyond the first of their post" in found.to_text()
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8-sig"), newline="")))
    classes = [name for name in rows[0] if name not in ("id", "label")]
    given = np.array([[float(row[name]) for name in classes] for row in rows])
    np.testing.assert_allclose(given, made.predictions.probabilities, atol=1e-4)


def test_another_second_image_is_another_file_of_predictions(made: Made) -> None:
    first = made.corpus.samples[2]
    assert first.more_images
    changed = replace(first, more_images=first.more_images[:-1])
    assert score.digest_samples([first]) != score.digest_samples([changed])
    assert score.digest_samples([replace(first, more_images=())]) != score.digest_samples([changed])


def test_without_the_image_no_image_is_seen(made: Made) -> None:
    run = load_run(made.run)
    specs = [find_spec(made.data.cache, name, side) for side, name in (("image", "colour"), ("text", "spelled"))]  # type: ignore[arg-type]
    bare = replace(made.corpus, samples=[replace(one, image=None, more_images=()) for one in made.corpus.samples])
    tables = [
        load_features(posts, made.data.cache, image=[specs[0]], text=[specs[1]], tokens=True, classes=run.classes)
        for posts in (made.corpus, bare)
    ]
    assert tables[0].image is not None
    hidden = replace(tables[0].image, present=np.zeros(N, bool), pooled=np.zeros_like(tables[0].image.pooled))
    by_hand = replace(tables[0], image=hidden)
    found = [predict.predict_table(run, table, "cpu", True).probabilities for table in (by_hand, tables[1])]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("how", ["zero", "mean", "null"])
def test_an_occluded_image_is_none_of_the_post(made: Made, how: str) -> None:
    """What a head sees of an occluded post depends on the training rows alone, however many images it has."""
    spec = find_spec(made.data.cache, "colour", "image")
    table = load_features(made.corpus, made.data.cache, image=[spec], text=[], tokens=True)
    rows = torch.arange(N)
    seen = []
    for scale in (1.0, 3.0):
        assert table.image is not None
        assert table.image.tokens is not None
        tokens = replace(table.image.tokens, values=(table.image.tokens.values * scale).astype(np.float32))
        side = replace(table.image, pooled=table.image.pooled * scale, tokens=tokens)
        posts = build_inputs(replace(table, image=side), tokens=True)
        plain = build_inputs(table, tokens=True)
        removed = remove(how, posts, "image", posts=plain, train=rows, seed=(0,))  # type: ignore[arg-type]
        inputs = removed.take(rows)
        seen.append(torch.where(inputs.image_mask[..., None], inputs.image.float(), 0.0))
    torch.testing.assert_close(seen[0], seen[1])


def test_attention_is_shown_on_the_first_image_and_counted_on_all(made: Made) -> None:
    (three,) = explain_ids(made.run, made.corpus, ["p2"], settings=CPU)
    found = three.explanation
    (image,) = found.images
    assert image.weights.shape == (2, 2)
    assert "colour: of 3 images the patches of the first are shown" in map(str, found.notes)
    layer = next(one for one in found.layers if "patches" in one.shares)
    first = sum(float(weights.mean(0).sum()) for weights in image.layers.values())
    assert layer.shares["patches"] > first / max(1, len(image.layers))
    (one,) = explain_ids(made.run, made.corpus, ["p0"], settings=CPU)
    assert not any("of 1 images" in str(note) for note in one.explanation.notes)


def test_pages_show_the_first_image(made: Made) -> None:
    from msa.pipeline.runs.stored_run import read_run

    split = read_run(made.run).split
    assert split is not None
    source = PostSource(made.corpus, split.contents)
    assert source.thumbnail("p2")
    assert "+" in str(split.contents["p2"][0])
