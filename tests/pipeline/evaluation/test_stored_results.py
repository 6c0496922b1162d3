"""The results of a run are read as they were stored; files that do not belong together are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored_runs import answers, store_run

from msa.pipeline.evaluation.stored_results import read_results


def test_ids_and_labels_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["=1+1", "'quoted", 'a "b", c', "情感"]
    stored = read_results(store_run(tmp_path / "run", [dict.fromkeys(names, ("pos", "neg"))]))
    assert stored.predictions == [dict.fromkeys(names, ("pos", "neg"))]
    assert stored.scored == "4 posts scored, one split"


@pytest.mark.parametrize("change", ["drop", "add", "label", "fold"])
def test_predictions_of_other_rows_are_refused(tmp_path: Path, change: str) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10), answers(10, 20)])
    file = run / "predictions.csv"
    lines = file.read_text().splitlines()
    changed = {
        "drop": lines[:-1],
        "add": [*lines, "p99,0,1,neg,neg"],
        "label": [*lines[:-1], "p19,0,1,neg,neutral"],
        "fold": [*lines[:-1], "p19,0,0,neg,neg"],
    }
    file.write_text("\n".join(changed[change]) + "\n")
    with pytest.raises(ValueError, match=r"predictions\.csv: its \d+ rows are not the 20 test rows.*; train again"):
        assert read_results(run).predictions


def test_metrics_and_split_must_have_the_same_folds(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10), answers(10, 20)])
    split = json.loads((run / "split.json").read_text())
    split["folds"].pop()
    (run / "split.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match=r"split\.json: not a run's split \(it has 1 folds, the metrics have 2\)"):
        read_results(run)


@pytest.mark.parametrize("change", [{"metrics": {"accuracy": 1}}, {"tests": {"linear": {}}}, {"rows": "many"}])
def test_damaged_metrics_are_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10)])
    (run / "metrics.json").write_text(json.dumps(json.loads((run / "metrics.json").read_text()) | change))
    with pytest.raises(ValueError, match=r"metrics\.json: not a run's metrics \(.*\); train again"):
        read_results(run)
