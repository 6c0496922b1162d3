"""Many heads over many folds end as each would alone, however they are grouped and in however many threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msa.features.spec import EncoderSpec
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.split import Fold, Posts, make_folds
from msa.pipeline.training.checkpointing import CheckpointDir
from msa.pipeline.training.experiment import FoldResult, HeadConfig, softmax, train_folds
from msa.pipeline.training.folds import Task, plan_training, share_out, train_many
from msa.pipeline.training.loop import TrainConfig

IMAGE = EncoderSpec("eye", "image", "timm", "fake", "sha256:0", "last", "mean", "{}", 6, "float16")
WORDS = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 5, "float16")
QUICK = TrainConfig(epochs=3, batch_size=16, lr=3e-3)
SMALL = HeadConfig("concat", hidden=8, token_width=4)
N = 90


def side(spec: EncoderSpec, seed: int) -> ModalityTable:
    vectors = np.random.default_rng(seed).normal(size=(N, 5, spec.width)).astype(np.float32)
    vectors[np.arange(N), :, np.arange(N) % 3] += 1.5
    present = np.arange(N) % 10 != seed
    return ModalityTable((spec,), present, vectors[:, 0], vectors[:, 1:], np.repeat(present[:, None], 4, 1))


def table() -> CachedFeatures:
    posts = Posts([f"p{n}" for n in range(N)], ["abc"[n % 3] for n in range(N)], np.arange(N), [None] * N)
    return CachedFeatures(posts, ("a", "b", "c"), side(IMAGE, 0), side(WORDS, 1))


TABLE = table()
FOLDS = make_folds(TABLE.posts, folds=2, seed=0)
TASKS = [
    Task(SMALL, QUICK),
    Task(replace(SMALL, dropout=0.1), replace(QUICK, lr=1e-2)),
    Task(replace(SMALL, hidden=16), QUICK),
    Task(SMALL, QUICK, without="image"),
    Task(replace(SMALL, ensemble_size=3), replace(QUICK, weight_decay=0.1)),
    Task(replace(SMALL, fusion="attention"), QUICK),
    Task(replace(SMALL, fusion="attention", options={}), replace(QUICK, lr=1e-2)),
]


def check(found: list[FoldResult], expected: list[FoldResult]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert len(one.heads) == len(other.heads)
        assert one.best_epochs == other.best_epochs
        assert np.array_equal(one.fold.test, other.fold.test)
        assert np.array_equal(one.valid_rows, other.valid_rows)
        assert np.abs(softmax(one.logits) - softmax(other.logits)).max() < 1e-3
        assert np.abs(softmax(one.valid_logits) - softmax(other.valid_logits)).max() < 1e-3
        assert (one.logits.argmax(1) == other.logits.argmax(1)).mean() >= 0.999
        assert one.reductions.keys() == other.reductions.keys()


@pytest.fixture(scope="module")
def alone() -> list[list[FoldResult]]:
    return [train_many(TABLE, FOLDS, [task])[0] for task in TASKS]


@pytest.mark.parametrize(("threads", "largest"), [(1, 1), (2, 1), (1, 32), (2, 2), (3, 32), (None, None)])
def test_the_plan_changes_no_result(alone: list[list[FoldResult]], threads: int | None, largest: int | None) -> None:
    plan = plan_training(TABLE, FOLDS, TASKS, threads=threads, largest=largest)
    steps: list[tuple[int, int]] = []
    many = train_many(TABLE, FOLDS, TASKS, plan=plan, done=lambda done, total: steps.append((done, total)))
    for found, expected in zip(many, alone, strict=True):
        check(found, expected)
    assert steps == [(number + 1, len(TASKS) * len(FOLDS)) for number in range(len(TASKS) * len(FOLDS))]


def test_the_plan_fuses_what_it_can_and_says_so() -> None:
    assert str(plan_training(TABLE, FOLDS, TASKS, threads=2, largest=1)) == "alone: 18 heads; 2 at a time"
    fused = plan_training(TABLE, FOLDS, TASKS, threads=1)
    # per fold: two heads of 8 with the ensemble's first, and three groups of one; its other members; two on tokens
    assert str(fused) == "fused: 2 chunks of up to 3 heads; alone: 12 heads; 1 at a time"
    on_gpu = plan_training(TABLE, FOLDS, TASKS, device="cuda")
    assert str(on_gpu) == "fused: 4 chunks of up to 3 heads; alone: 8 heads; 1 at a time"
    assert sorted(len(chunk) for chunk in fused.chunks) == [1] * 12 + [3, 3]
    for chunk in on_gpu.chunks:
        assert len({(job.fold, job.place) for job in chunk}) == 1


def test_heads_of_the_same_settings_repeat_themselves_bit_for_bit() -> None:
    plan = plan_training(TABLE, FOLDS, TASKS, threads=2)
    one, two = (train_many(TABLE, FOLDS, TASKS, plan=plan) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert all(np.array_equal(a.logits, b.logits) for a, b in zip(first, second, strict=True))


def test_a_hidden_modality_changes_what_is_said() -> None:
    full, hidden = train_many(TABLE, FOLDS, [TASKS[0], TASKS[3]])
    assert all(np.abs(a.logits - b.logits).max() > 1e-3 for a, b in zip(full, hidden, strict=True))


def test_a_kept_training_goes_on(tmp_path: Path) -> None:
    place = CheckpointDir(tmp_path, 1, "x")
    kept = train_folds(TABLE, FOLDS, SMALL, QUICK, checkpointers=place.checkpointer)
    again = train_folds(TABLE, FOLDS, SMALL, QUICK, checkpointers=place.checkpointer)
    assert sorted(path.name for path in place.folder.iterdir()) == ["fold0-0.pt", "fold1-0.pt"]
    check(again, kept)
    check(train_folds(TABLE, FOLDS, SMALL, QUICK), kept)


def test_heads_that_want_other_tables_are_refused() -> None:
    other = Task(replace(SMALL, fusion="attention", patches=None), QUICK)
    with pytest.raises(ValueError, match="must share --patches and --views"):
        train_many(TABLE, FOLDS, [TASKS[5], other])


def test_an_error_in_one_training_is_the_callers() -> None:
    with pytest.raises(ValueError, match="no validation rows"):
        train_many(TABLE, [Fold(np.arange(30), np.arange(0), np.arange(60, 90))], TASKS[:3])


def test_work_is_shared_out_in_chunks_that_go_round() -> None:
    groups = [(list(range(29)), 32)] * 5
    chunks = share_out(groups, 2)
    assert sorted(map(len, chunks)) == [14] * 5 + [15] * 5
    assert [len(chunk) for chunk in share_out([(list(range(256)), 32)] * 5, 2)] == [32] * 40
    assert [len(chunk) for chunk in share_out([(list(range(4)), 32)], 2)] == [2, 2]
    assert [len(chunk) for chunk in share_out([([1, 2, 3], 1)], 2)] == [1, 1, 1]
    assert sorted(item for chunk in share_out([(list(range(7)), 3)], 2) for item in chunk) == list(range(7))


def test_neighbours_are_dealt_to_different_chunks() -> None:
    """In a grid they do alike: of chunks that get one of each few neighbours, a race leaves about as many."""
    dealt = share_out([(list(range(24)), 6)], 4)
    assert [len(chunk) for chunk in dealt] == [6] * 4
    for chunk in dealt:
        assert [item // 4 for item in chunk] == list(range(6))
    assert {tuple(item % 4 for item in chunk) for chunk in dealt}.isdisjoint({(k,) * 6 for k in range(4)})
