"""The results of a run are read as they were stored; files that do not belong together are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stored_runs import answers, store_run

from msa.pipeline.evaluation.paired_runs import read_tested
from msa.pipeline.runs.stored_run import read_run


def test_ids_and_labels_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["=1+1", "'quoted", 'a "b", c', "情感"]
    stored = read_run(store_run(tmp_path / "run", [dict.fromkeys(names, ("pos", "neg"))]))
    assert read_tested(stored).labels == [dict.fromkeys(names, ("pos", "neg"))]


@pytest.mark.parametrize("change", ["drop", "add", "repeat"])
def test_predictions_of_other_rows_are_refused(tmp_path: Path, change: str) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10), answers(10, 20)])
    file = run / "predictions.csv"
    lines = file.read_text().splitlines()
    changed = {
        "drop": lines[:-1],
        "add": [*lines, "p99,0,1,neg,neg,1,0"],
        "repeat": [*lines[:-1], "p19,1,1,neg,neg,1,0"],
    }
    file.write_text("\n".join(changed[change]) + "\n")
    with pytest.raises(ValueError, match=r"predictions\.csv: its \d+ rows are not the 20 test rows.*; train again"):
        read_tested(read_run(run))


def test_a_label_that_is_no_class_is_refused(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10)], predicted={"linear": [3]})
    for name, label in (("predictions.csv", "0,pos"), ("baselines.csv", ",pos\n")):
        whole = (run / name).read_text()
        (run / name).write_text(whole.replace(label, label.replace("pos", "neutral"), 1))
        with pytest.raises(ValueError, match=rf"{name}: not .* \('neutral' is missing\); write it again"):
            read_run(run)
        (run / name).write_text(whole)


def test_baselines_of_other_rows_are_refused(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10)], predicted={"linear": [3]})
    assert read_run(run).baselines["linear"].tolist() == [1, 0, 1, 1, 1, 0, 1, 0, 1, 0]
    file = run / "baselines.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    with pytest.raises(ValueError, match=r"baselines\.csv: not .*its rows are not those of predictions\.csv"):
        read_run(run)


def test_files_with_and_without_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10, wrong=[2])], predicted={"linear": [3]})
    before = read_run(run)
    for file in run.glob("*.csv"):
        assert not file.read_text("utf-8").startswith("\ufeff")
        file.write_text(file.read_text("utf-8"), encoding="utf-8-sig")
    after = read_run(run)
    assert before.predictions
    assert after.predictions
    assert after.predictions.predicted.tolist() == before.predictions.predicted.tolist()
    assert after.baselines["linear"].tolist() == before.baselines["linear"].tolist()


def test_a_folder_is_read_without_torch(tmp_path: Path) -> None:
    one = store_run(tmp_path / "runs/one", [answers(0, 10), answers(10, 20)], predicted={"linear": [3]})
    store_run(tmp_path / "runs/two", [answers(0, 10), answers(10, 20, wrong=[12])])
    script = (
        "import sys\nfrom msa.cli import run_command\n"
        "code = run_command(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "sys.exit(code)"
    )
    for words in (["table", str(one.parent), "--against", "one", "--baselines"], ["report", str(one)]):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_metrics_and_split_must_have_the_same_folds(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10), answers(10, 20)])
    split = json.loads((run / "split.json").read_text())
    split["folds"].pop()
    (run / "split.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match=r"split\.json: not a run's split \(it has 1 folds, the metrics have 2\)"):
        read_run(run)


@pytest.mark.parametrize("change", [{"metrics": {"accuracy": 1}}, {"tests": {"linear": {}}}, {"rows": "many"}])
def test_damaged_metrics_are_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    run = store_run(tmp_path / "run", [answers(0, 10)])
    (run / "metrics.json").write_text(json.dumps(json.loads((run / "metrics.json").read_text()) | change))
    with pytest.raises(ValueError, match=r"metrics\.json: not a run's metrics \(.*\); write it again"):
        read_run(run)
