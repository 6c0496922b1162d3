"""The printed trials of a sweep: what was varied, what was pruned, and a grid of two settings as a table."""

from __future__ import annotations

from typing import Any, Literal

from msa.pipeline.sweeps.leaderboard_tables import best_trials, pivot
from msa.pipeline.sweeps.study import TrialRow

State = Literal["complete", "pruned", "fail"]


def trial(index: int, value: float | None, state: State = "complete", **point: Any) -> TrialRow:
    epochs = 8 if state == "complete" else 2
    notes = {"seconds": 1.5, "extract_seconds": 12.0}
    values = {} if value is None else {epochs: value}
    return TrialRow(index, index, {"fusion": "ote", **point}, state, values, notes)


GRID = [
    trial(0, 0.61, "pruned", heads=2, ffn=32),
    trial(1, 0.70, heads=2, ffn=64),
    trial(2, 0.72, heads=4, ffn=32),
    trial(3, None, "fail", heads=4, ffn=64),
]


def test_a_grid_of_two_settings_is_a_table_of_two_dimensions() -> None:
    found = pivot(GRID, "accuracy on the inner folds")
    assert found is not None
    assert found.title.startswith("accuracy on the inner folds, heads × ffn; ")
    assert list(found.header) == ["heads \\ ffn", "32", "64"]
    assert [[str(cell).strip() for cell in line] for line in found.lines] == [
        ["2", "(0.610)", "0.700"],
        ["4", "0.720", "failed"],
    ]
    assert [at for at in [(r, c) for r in (0, 1) for c in (0, 1, 2)] if found.is_bold(*at)] == [(1, 1)]


def test_other_sweeps_have_no_such_table() -> None:
    assert pivot(GRID[:3], "accuracy") is None  # a point is missing
    assert pivot([trial(n, 0.5, heads=n) for n in range(4)], "accuracy") is None
    drawn = [trial(n, 0.5, lr=0.1 * n, hidden=n % 2) for n in range(4)]
    assert pivot(drawn, "accuracy") is None


def test_the_best_trials_mark_what_was_pruned_and_show_what_differs() -> None:
    found = best_trials(GRID, "accuracy")
    assert "inner scores" in found.title
    lines = [[str(cell) for cell in line] for line in found.lines]
    assert [line[0] for line in lines] == ["2", "1", "0", "3"]
    assert lines[0] == ["2", "0.720", "8", "12.0", "1.50", "heads=4 ffn=32"]
    assert lines[2][:3] == ["0", "0.610", "2 pruned"]
    assert lines[3][1] == "failed"
    assert all("fusion" not in line[-1] for line in lines)
    assert best_trials([trial(n, 0.5, lr=0.1 * n) for n in range(14)], "accuracy").title.startswith(
        "Best 10 of 14 trials"
    )
