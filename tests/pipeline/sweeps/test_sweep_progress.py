"""What a sweep reports: head-epochs that add up, trials, rungs, the best so far, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from cached_posts import cached_posts
from cached_sweeps import search
from progress_records import Records

from msa.features.progress import watched
from msa.pipeline.config.search_config import Search
from msa.pipeline.sweeps.sweep_progress import head_epochs, survivors


def test_head_epochs_follow_successive_halving() -> None:
    assert [survivors(trials, 3) for trials in (64, 22, 8, 2)] == [22, 8, 3, 2]
    assert survivors(64, 0) == 64
    assert head_epochs(64, [4, 8, 16, 32, 40], 3) == 64 * 4 + 22 * 4 + 8 * 8 + 3 * 16 + 3 * 8
    assert head_epochs(64, [40], 0) == 64 * 40


def test_a_sweep_reports_how_far_it_is_and_what_stays(tmp_path: Path) -> None:
    posts = cached_posts(tmp_path)
    records = Records()
    how = Search(trials=12, inner=2, batch=6)

    class StopError(Exception):
        pass

    def cut(name: str, done: int, total: int) -> None:
        if done == 6:
            raise StopError

    with watched(records), pytest.raises(StopError):
        search(posts, tmp_path / "runs", how, done=cut)
    assert "keeps what the trials have reached (6 of 12 trials have ended)" in records.kept()
    with watched(records):
        found = search(posts, tmp_path / "runs", how)
    steps = [what for what in records.of("step") if what[0] == "head-epochs"]
    total = 2 * 2 * head_epochs(6, [2, 4, 8], 3)
    assert steps[0] == ("head-epochs", 0, total, "epochs")
    assert steps[-1] == ("head-epochs", total, total, "epochs")
    resumed = next(at for at, what in enumerate(steps) if what[1] == total // 2)
    assert [what[1] for what in steps[resumed:]] == sorted(what[1] for what in steps[resumed:])
    last = [text for text in records.of("detail") if "trials ended" in text][-1]
    best = max((row for row in found.rows[0]), key=lambda row: (row.epochs, row.value or 0))
    assert last == f"12/12 trials ended · rung 3/3 (epoch 8) · best: trial {best.index}, accuracy {best.value:.3f}"
    assert {"searching", "training the winner"} <= {*records.of("stage")}
