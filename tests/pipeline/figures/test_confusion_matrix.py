"""The heat map shows counts and the share of each true class."""

from __future__ import annotations

from figure_runs import stored_run

from msa.pipeline.figures.confusion_matrix import confusion_charts
from msa.pipeline.figures.words import Words


def test_cells_hold_counts_and_row_percentages() -> None:
    chart = confusion_charts([stored_run(classes=("a", "$b$", "c"))], Words())[0]
    axes = chart.figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells[0.5, 0.5] == "3\n75%"
    assert cells[1.5, 0.5] == "1\n25%"
    assert cells[2.5, 2.5] == "2\n67%"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "$b$", "c"]
    assert axes.yaxis_inverted()
    assert list(chart.rows[1]) == ["a", "$b$", 1, 0.25]
    assert sum(int(str(row[2])) for row in chart.rows) == 10


def test_several_runs_have_a_matrix_each() -> None:
    charts = confusion_charts([stored_run(), stored_run("two")], Words())
    assert [(chart.name, chart.title) for chart in charts] == [
        ("confusion-1", "Confusion matrix: one"),
        ("confusion-2", "Confusion matrix: two"),
    ]
