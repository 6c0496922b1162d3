"""The attention of a run in its report: its posts and means, and when it is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.pipeline.explanation.explanation import TARGETS
from msa.pipeline.explanation.run_attention import EACH, SAMPLED, RunAttention, explain_run
from msa.pipeline.figures.attention_section import attention_section
from msa.pipeline.figures.report import write_report
from msa.pipeline.figures.section import Shown
from msa.pipeline.figures.words import Words
from msa.pipeline.runs.stored_run import StoredRun, read_runs
from msa.pipeline.train_head import train_head

EN = Words("en")
SHORT = replace(QUICK, epochs=3)


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def run(posts: Corpus) -> StoredRun:
    """A gated head on tokens: attention pooling, and weights of the modalities."""
    return read_runs([train_head(posts, stage(posts), HEAD, SHORT, runs=posts.root / "runs").run])[0]


def explained(run: StoredRun, posts: Corpus) -> RunAttention:
    found = explain_run(run, posts)
    assert found is not None
    return found


def test_the_posts_are_those_that_the_heads_were_most_sure_of(run: StoredRun, posts: Corpus) -> None:
    found = explained(run, posts)
    assert run.predictions
    _, ids, truth, predicted, probabilities = run.predictions
    confidence = {name: p.max() for (name, _), p in zip(ids, probabilities, strict=True)}
    right = {name: bool(is_right) for (name, _), is_right in zip(ids, truth == predicted, strict=True)}
    for kind, is_right in (("most confident right", True), ("most confident wrong", False)):
        chosen = [one.explanation for one in found.examples if one.kind == kind]
        best = sorted((p for name, p in confidence.items() if right[name] is is_right), reverse=True)[:EACH]
        assert [one.probabilities.max() for one in chosen] == pytest.approx(best, abs=1e-5)
        assert all(one.held_out for one in chosen)


def test_means_are_over_test_posts_and_add_up_to_one(run: StoredRun, posts: Corpus) -> None:
    found = explained(run, posts)
    assert found.posts == SAMPLED
    assert [(one.layer, one.keys) for one in found.layers] == [("pooling", "image"), ("pooling", "text")]
    for one in found.layers:
        assert set(one.shares) <= {*TARGETS}
        assert sum(one.shares.values()) == pytest.approx(1)
    assert list(found.weights) == ["a", "b", "c"]
    assert [sum(one.values()) for one in found.weights.values()] == pytest.approx([1, 1, 1])


def test_the_section_has_a_chart_of_layers_of_weights_and_of_each_post(run: StoredRun, posts: Corpus) -> None:
    section = attention_section([run], EN, Shown(corpus=posts))
    names = [chart.name for chart in section.charts]
    assert names[:2] == ["attention-layers", "modality-weights"]
    assert names[2:] == [f"attention-{number}" for number in range(1, len(names) - 1)]
    assert "Jain & Wallace" in section.intro
    assert section.charts[1].header == ["class", "image", "text"]
    words = [row for row in section.charts[2].rows if row[0] == "word"]
    assert np.sum([row[-1] for row in words]) == pytest.approx(1)


def test_the_report_has_it(run: StoredRun, posts: Corpus, tmp_path: Path) -> None:
    write_report([run.path], out=tmp_path / "r.html", language="en", shown=Shown(corpus=posts))
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<h2>Attention</h2>" in text
    assert "most confident right" in text


def test_it_is_left_out_without_posts_or_for_several_runs(run: StoredRun, posts: Corpus) -> None:
    assert attention_section([run], EN, Shown()).charts == []
    assert attention_section([run, run], EN, Shown(corpus=posts)).charts == []


def test_a_head_without_weights_has_no_section(posts: Corpus) -> None:
    plain = replace(HEAD, fusion="concat", inputs="pooled")
    path = train_head(posts, stage(posts), plain, SHORT, runs=posts.root / "runs").run
    assert explain_run(read_runs([path])[0], posts) is None


def test_features_that_are_gone_are_told_of(run: StoredRun, posts: Corpus, tmp_path: Path) -> None:
    (posts.root / "cache").rename(tmp_path / "cache")
    try:
        with pytest.warns(Notice, match="the report of gated shows no attention: "):
            assert attention_section([run], EN, Shown(corpus=posts)).charts == []
    finally:
        (tmp_path / "cache").rename(posts.root / "cache")
