"""`msa ablate` on synthetic features: every way to remove something, each refusal, and the files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa.features.encoders.views import view_spec
from msa.features.posts.samples import Corpus
from msa.features.spec import EncoderSpec
from msa.heads.registry import HEADS, fusion_names
from msa.pipeline.ablation import ablate as module
from msa.pipeline.ablation.ablate import How, ablate
from msa.pipeline.ablation.ablation_table import Ablation
from msa.pipeline.ablation.variants import extracted_views, part_variants
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.ragged import Ragged
from msa.pipeline.data.split import Fold, Posts
from msa.pipeline.training.folds import train_folds
from msa.pipeline.training.jobs import Experiment

EYE = EncoderSpec(
    "eye", "image", "timm", "fake", "sha256:0", "last", "mean", '{"interpolation":"bilinear"}', 6, "float16"
)
WORDS = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 5, "float16")
QUICK = TrainConfig(epochs=10, batch_size=16, lr=2e-2, patience=0)
N = 90
FOLDS = [
    Fold(np.arange(30, 80), np.arange(80, 90), np.arange(30)),
    Fold(np.r_[0:30, 60:80], np.arange(80, 90), np.arange(30, 60)),
]


def table(*, views: int = 0, image: bool = True, raw: bool = False) -> CachedFeatures:
    """N posts: the text separates class b from the others, the image class a."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3

    def side(spec: EncoderSpec, label: int, seed: int = 0) -> ModalityTable:
        vectors = np.random.default_rng(seed).normal(size=(N, 4, spec.width)).astype(np.float32)
        vectors[:, :, 0] += 4 * (labels == label)[:, None]
        whole = np.ones(N, bool)
        return ModalityTable((spec,), whole, vectors[:, 0], Ragged.of_padded(vectors[:, 1:], np.ones((N, 3), bool)))

    posts = Posts([f"p{n}" for n in range(N)], ["abc"[n] for n in labels], rng.permutation(N), [None] * N)
    eye = side(EYE, 0)
    eye = replace(eye, views=tuple(side(view_spec(EYE, number), 0, number) for number in range(1, views + 1)))
    words = side(replace(WORDS, source="raw") if raw else WORDS, 1)
    return CachedFeatures(posts, ("a", "b", "c"), eye if image else None, words)


def run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config: HeadConfig | Sequence[HeadConfig],
    training: TrainConfig = QUICK,
    *,
    posts: CachedFeatures | None = None,
    folds: Sequence[Fold] = FOLDS,
    **options: Any,
) -> Ablation:
    monkeypatch.setattr(module, "prepare", lambda *given, **named: (posts or table(), folds, "cpu"))
    stage = DataConfig(tmp_path / "cache", ("eye",), ("words",))
    return ablate(Corpus(tmp_path, "table", []), stage, config, training, runs=tmp_path / "runs", **options)


SMALL = HeadConfig("gated", hidden=16, dropout=0.1)


def test_retraining_equals_training_each_variant_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(monkeypatch, tmp_path, SMALL, modality="text", seeds=2)
    assert [row.inputs for row in found.rows] == ["both", "image", "text"]
    assert (found.refused, found.notes, found.folds, found.seeds) == ({}, [], 2, 2)
    for row, without in zip(found.rows, (None, "text", "image"), strict=True):
        scores = [
            result.metrics["accuracy"]
            for seed in range(2)
            for result in train_folds(table(), FOLDS, SMALL, replace(QUICK, seed=seed), without=without)  # type: ignore[arg-type]
        ]
        assert row.metrics["accuracy"]["mean"] == pytest.approx(np.mean(scores), abs=0.02)
    both, image, text = (row.metrics["accuracy"]["mean"] for row in found.rows)
    assert both > max(image, text)
    value = found.shapley["gated"]
    whole = value["image"]["accuracy"]["mean"] + value["text"]["accuracy"]["mean"]
    assert whole == pytest.approx(both - value["neither"]["accuracy"]["mean"])
    assert value["neither"]["accuracy"]["mean"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("how", ["zero", "mean", "shuffle", "null"])
def test_replacing_trains_once_and_lowers_accuracy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: How) -> None:
    trained: list[int] = []
    plain = module.train_experiments

    def counted(given: Any, folds: Any, tasks: Any, **named: Any) -> Any:
        trained.append(len(tasks))
        return plain(given, folds, tasks, **named)

    monkeypatch.setattr(module, "train_experiments", counted)
    found = run(monkeypatch, tmp_path, SMALL, how=how)
    assert trained == [1]
    assert [row.inputs for row in found.rows] == ["both", "text", "image"]
    assert all(row.difference["accuracy"] < -0.1 for row in found.rows[1:])
    if how != "mean":  # which is no post's vector and may resemble any class
        assert found.rows[1].f1_change["a"] < found.rows[1].f1_change["b"]
        assert found.rows[2].f1_change["b"] < found.rows[2].f1_change["a"]
    assert all(row.change["logits"] > 0.01 for row in found.rows[1:])
    assert len(found.notes) == (2 if how == "null" else 0)
    assert not run(monkeypatch, tmp_path, SMALL, replace(QUICK, modality_dropout=0.2), how=how).notes


@pytest.mark.parametrize("how", ["retrain", "zero", "mean", "shuffle", "null"])
def test_a_head_that_does_not_read_a_modality_is_refused_not_scored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: How
) -> None:
    blind = [replace(SMALL, fusion=name) for name in ("gated", "text", "image")]
    found = run(monkeypatch, tmp_path, blind, how=how)
    assert set(found.refused) == {"text/text", "image/image"}
    assert "image changed no logits: the 'text' head does not read it" in found.refused["text/text"]
    assert "text changed no logits: the 'image' head does not read it" in found.refused["image/image"]
    assert [(row.fusion, row.inputs) for row in found.rows] == [
        ("gated", "both"),
        ("gated", "text"),
        ("gated", "image"),
        ("text", "both"),
        ("text", "image"),
        ("image", "both"),
        ("image", "text"),
    ]
    assert list(found.shapley) == ["gated"]
    assert "refused: text/text" in found.to_text()


def test_a_modality_that_no_test_post_has_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    posts = table()
    assert posts.image is not None
    bare = replace(posts, image=replace(posts.image, present=np.arange(N) >= 60))
    assert "no test post has one" in run(monkeypatch, tmp_path, SMALL, posts=bare, how="zero").refused["text"]


def test_files_and_json_hold_all_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(monkeypatch, tmp_path, SMALL, how="zero")
    stored = json.loads((found.path / "ablation.json").read_text())
    assert stored["rows"] == json.loads(json.dumps(found.to_dict()))["rows"]
    assert (stored["head"]["fusion"], stored["training"]["lr"], stored["how"]) == ("gated", 2e-2, "zero")
    for row in stored["rows"]:
        assert {"inputs", "metrics", "difference", "intervals", "tests", "f1_change"} <= set(row)
    with (found.path / "ablation.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["inputs"] for line in lines] == ["both", "text", "image"]
    assert float(lines[1]["accuracy_difference"]) == found.rows[1].difference["accuracy"]
    assert float(lines[1]["f1_change_a"]) == found.rows[1].f1_change["a"]
    assert lines[0]["mcnemar"] == "" != lines[1]["mcnemar"]
    assert float(lines[1]["weighted_f1_mean"]) == found.rows[1].metrics["weighted_f1"]["mean"]
    text = found.to_text()
    assert f"{found.rows[1].difference['accuracy']:+.3f} [" in text
    tables = text.splitlines()[:-1]
    assert tables[0].startswith("gated, ")
    assert tables[1].endswith("macro f1   weighted f1")
    assert tables[3].startswith("both")
    assert f"  {found.rows[0].metrics['weighted_f1']['mean']:.3f} ±" in tables[3][-16:]
    assert max(map(len, tables)) <= 80
    assert "path" not in stored
    assert str(found.path) in text


@pytest.mark.parametrize(
    ("part", "fusion", "names"),
    [
        ("tokens", "attention", ["tokens", "pooled"]),
        ("position", "attention", ["sinusoidal", "none"]),
        ("balance", "gated", ["none", "weights", "sampler"]),
        ("views", "gated", ["2 views", "no views"]),
    ],
)
def test_parts_are_trained_variants_beside_the_full_head(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: Any, fusion: str, names: list[str]
) -> None:
    config = replace(SMALL, fusion=fusion, views=2 if part == "views" else 0)
    posts = table(views=2 if part == "views" else 0)
    uneven = replace(posts, posts=replace(posts.posts, labels=["a" if n % 4 else "bc"[n % 8 // 4] for n in range(N)]))
    found = run(monkeypatch, tmp_path, config, posts=uneven, part=part)
    assert [row.variant for row in found.rows] == names
    assert (found.refused, found.shapley) == ({}, {})
    assert uneven.image is not None
    plain = replace(uneven, image=replace(uneven.image, views=()))
    for row, variant in zip(found.rows, part_variants(part, Experiment(config, QUICK)).values(), strict=True):
        seen = uneven if variant.config.views else plain
        alone = [r.metrics["accuracy"] for r in train_folds(seen, FOLDS, variant.config, variant.training)]
        assert row.metrics["accuracy"]["mean"] == pytest.approx(np.mean(alone), abs=0.02)


def test_a_part_that_does_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights for classes that are as frequent as one another are all 1."""
    even = [Fold(np.arange(30, 81), np.arange(81, 90), np.arange(30))]
    found = run(monkeypatch, tmp_path, SMALL, folds=even, part="balance")
    assert set(found.refused) == {"weights"}
    assert "logits equal those of none" in found.refused["weights"]


def test_what_the_head_or_the_cache_lacks_raises_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part, config, message in (
        ("tokens", SMALL, "--inputs tokens"),
        ("position", SMALL, "has no option `positions`"),
        ("position", HeadConfig("attention", inputs="pooled"), "no order"),
        ("colour", SMALL, "part must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            run(monkeypatch, tmp_path, config, part=part)
    with pytest.raises(ValueError, match="--views 2"):
        extracted_views(tmp_path, [EYE])
    for index in (1, 2):
        (tmp_path / view_spec(EYE, index).slug).mkdir()
    assert extracted_views(tmp_path, [EYE]) == 2
    for options, message in (
        ({"part": "balance", "how": "zero"}, "leave --modality and --how out"),
        ({"modality": "sound"}, "image, text or all"),
        ({"how": "random"}, "retrain, null"),
        ({"seeds": 0}, "1 or more"),
        ({"posts": table(image=False)}, "both modalities"),
        ({"posts": table(raw=True), "how": "mean"}, "replaces embeddings"),
    ):
        with pytest.raises(ValueError, match=message):
            run(monkeypatch, tmp_path, SMALL, **options)


def test_groups_stand_for_the_heads_on_both_modalities() -> None:
    assert fusion_names("gated") == ["gated"]
    assert fusion_names("gated, concat,gated") == ["gated", "concat"]
    pooled, tokens = fusion_names("all-pooled"), fusion_names("all-tokens")
    assert set(pooled) | set(tokens) == set(HEADS) - {"image", "text"} == set(fusion_names("all"))
    assert {HEADS[name].inputs for name in pooled} == {"pooled"}
    assert fusion_names("text,all-pooled") == ["text", *pooled]
    with pytest.raises(ValueError, match="attention"):
        fusion_names("gated,atention")
