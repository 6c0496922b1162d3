"""The commands of stage two on a small generated corpus: ensembles, recipes, evaluation, locked posts."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from msa.cli import run_command
from msa.heads.registry import ENTRIES
from msa.pipeline.commands.recipes import FOLDER, read_recipes
from msa.pipeline.demo.demo import write_demo_corpus

QUICK = ["--epochs", "3", "--token-width", "32", "--hidden", "32", "--patches", "2x2"]
EMBEDDED = ["--image", "efficientnet_lite0", "--text", "minilm"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demo corpus and its features extracted."""
    folder = tmp_path_factory.mktemp("heads")
    write_demo_corpus(folder, posts=100)
    assert here(folder, ["extract", "--max-bad", "1"]) == 0
    return folder


def here(folder: Path, arguments: Sequence[str]) -> int:
    with chdir(folder):
        return run_command(arguments)


def as_json(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    code = here(folder, [*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert here(folder, arguments) == 2
    return capsys.readouterr().err


def scored(run: Path) -> dict[str, str]:
    with (run / "predictions.csv").open(encoding="utf-8-sig") as file:
        return {row["id"]: row["predicted"] for row in csv.DictReader(file)}


def test_every_head_and_every_recipe_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [entry["head"] for entry in as_json(home, capsys, "heads")["heads"]] == list(ENTRIES)
    listed = as_json(home, capsys, "recipes")["recipes"]
    assert {entry["name"] for entry in listed} == {path.stem for path in FOLDER.glob("*.toml")}
    assert all(entry["system"] and entry["report"] for entry in listed)


@pytest.mark.parametrize("recipe", [recipe.name for recipe in read_recipes()])
def test_every_recipe_names_options_that_train_head_takes(
    home: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    """Its encoders are not cached here, and that is what it stumbles over: all its options were taken."""
    assert "no image features of" in refused(home, capsys, "train-head", "--recipe", recipe)


def test_a_recipe_gives_defaults_and_flags_win(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ["--recipe", "R4-late-linear", "--epochs", "2", *EMBEDDED]
    run = home / as_json(home, capsys, "train-head", *recipe)["run"]
    assert run.name == "R4-late-linear"
    stored = json.loads((run / "config.json").read_text())
    assert stored["head"]["options"] == {"combine": "linear"}
    assert (stored["training"]["schedule"], stored["training"]["optimizer"]) == ("restarts", "adam")
    assert stored["training"]["epochs"] == 2
    assert "did you mean R4-late" in refused(home, capsys, "train-head", "--recipe", "R4-late")


def test_an_ensemble_of_several_kinds_is_one_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed = ["train-head", "--fusion", "gated+attention", "--option", "heads=2", *QUICK]
    assert "add --ensemble" in refused(home, capsys, *mixed)
    run = home / as_json(home, capsys, *mixed, "--ensemble", "3")["run"]
    found = as_json(home, capsys, "predict", str(run), "--rows", "all")
    again = {one["id"]: one["label"] for one in found["predictions"]}
    assert all(again[post] == label for post, label in scored(run).items())
    strange = refused(home, capsys, *mixed, "--ensemble", "2", "--option", "rank=2")
    assert "none of gated+attention has an option 'rank'" in strange


def test_a_sweeps_winner_is_trained_again_and_flags_win(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = ["--fusion", "concat,gated", "--set", "lr=1e-3..1e-2", "--set", "hidden=8,16"]
    found = as_json(home, capsys, "sweep", *space, "--trials", "4", "--folds", "2", "--epochs", "3")
    assert (found["trials"], set(found)) == (4, set(found) | {"best", "outer", "seconds"})
    assert all(line["extract_seconds"] > 0 and line["head_seconds"] > 0 for line in found["leaderboard"])
    assert set(found["baselines"]) >= {"majority", "knn", "linear"}
    again = as_json(home, capsys, "train-head", "--from", "runs/sweep#best")
    assert again["fusion"] == found["best"]["config"]["head"]["fusion"]
    assert again["metrics"]["accuracy"]["mean"] == found["outer"]["metrics"]["accuracy"]["mean"]
    longer = home / as_json(home, capsys, "train-head", "--from", "runs/sweep#best", "--epochs", "4")["run"]
    stored = json.loads((longer / "config.json").read_text())
    assert stored["training"] == found["best"]["config"]["training"] | {"epochs": 4}
    assert "wants a run, as runs/gated, or a sweep's trial" in refused(
        home, capsys, "train-head", "--from", "runs/nothing#best"
    )


def test_a_sweep_joins_its_trials_or_trains_ensembles(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--fusion", "concat,gated", "--set", "hidden=4", "--folds", "2", "--epochs", "2", "--halving", "0")
    joined = as_json(home, capsys, "sweep", *few, "--ensemble", "greedy", "--name", "joined")["ensemble"]
    assert sum(one["weight"] for one in joined["members"][0]) == pytest.approx(1)
    predicted = as_json(home, capsys, "predict", joined["run"], "--text", "what a day")["predictions"]
    assert sum(predicted[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert {"report.html", "opinions.csv"} <= {file.name for file in (home / joined["run"]).iterdir()}
    refusal = refused(home, capsys, "train-head", "--from", joined["run"])
    assert "is the ensemble of a sweep" in refusal
    several = as_json(home, capsys, "sweep", *few, "--ensemble", "2", "--name", "several")
    assert several["best"]["config"]["head"]["ensemble_size"] == 2
    assert "wants a number of heads, as 5, or greedy; got 'five'" in refused(
        home, capsys, "sweep", "--ensemble", "five"
    )


def test_what_a_sweep_prints_can_be_pasted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--limit", "70", "--trials", "2", "--folds", "2", "--epochs", "2", "--runs", "my #1 runs"]
    capsys.readouterr()
    assert here(home, ["sweep", "--fusion", "concat", "--set", "lr=1e-3..1e-2", *few]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("again: ")]
    program, *words = shlex.split(line.removeprefix("again: "), comments=True)
    assert program == "msa"
    found = as_json(home, capsys, *words)
    stored = json.loads((home / "my #1 runs/sweep/sweep.json").read_text())
    assert found["metrics"]["accuracy"]["mean"] == stored["outer"]["metrics"]["accuracy"]["mean"]
    assert str(home) not in (home / "my #1 runs/sweep/sweep.json").read_text()
    whole = as_json(home, capsys, "train-head", "--limit", "70", "--from", "my #1 runs/sweep")
    assert whole["metrics"] == found["metrics"]


def test_any_run_is_trained_again_to_the_same_metrics(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--fusion", "gated", "--folds", "3", "--repeats", "2", "--lr", "2e-3", "--seed", "3"]
    more = ["--limit", "95", "--unlabelled", "self", "--balance", "weights", "--name", "first", *QUICK]
    first = as_json(home, capsys, "train-head", *settings, *more)
    again = as_json(home, capsys, "train-head", "--from", first["run"])
    assert again["run"] != first["run"]
    for name in ("fusion", "metrics", "per_fold", "calibration", "confusion", "repeats"):
        assert again[name] == first[name], name
    one = as_json(home, capsys, "train-head", "--from", first["run"], "--repeats", "1", "--unlabelled", "none")
    assert (one["folds"], one["repeats"]) == (3, 1)
    assert "has no trial" not in refused(home, capsys, "train-head", "--from", f"{first['run']}#best")


def test_a_run_is_evaluated_again_and_loses_a_modality(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = as_json(home, capsys, "train-head", "--fusion", "gated", "--folds", "3", "--repeats", "2", *QUICK)
    assert (trained["folds"], trained["repeats"]) == (6, 2)
    found = as_json(home, capsys, "evaluate", trained["run"], "--missing", "image")
    assert found["metrics"]["accuracy"]["mean"] == pytest.approx(trained["metrics"]["accuracy"]["mean"])
    assert (home / trained["run"] / "curve.csv").exists()
    assert "missing" in (home / trained["run"] / "report.html").read_text("utf-8")


def test_a_run_is_found_by_its_name_and_posts_can_be_limited(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ["--limit", "60", "--json"]
    spelled = ["--optimiser", "adam", "--learning-rate", "1e-3", "--fusion", "concat", "--runs", "few"]
    run = home / as_json(home, capsys, "train-head", *spelled, "--name", "small", *QUICK, *first)["run"]
    assert run == home / "few" / "small"
    settings = json.loads((run / "config.json").read_text())["training"]
    assert (settings["optimizer"], settings["lr"]) == ("adam", 1e-3)
    assert as_json(home, capsys, "evaluate", "small", "--runs", "few", *first)["reproduced"] == 1.0
    found = as_json(home, capsys, "predict", "small", "--runs", "few", "--rows", "all", "--name", "again", *first)
    assert len(found["predictions"]) == 60
    assert found["files"][0] == str(Path("few/small/again") / home.name / "predictions.csv")
    named = ["--runs", "few", "--name", "mine", "--fusion", "concat", *QUICK, *first]
    assert Path(as_json(home, capsys, "ablate", *named)["path"]).name == "mine"
    assert Path(as_json(home, capsys, "learning-curve", "--shares", "1", *named)["path"]).name == "mine-2"
    assert [(home / "few" / name / "report.html").exists() for name in ("mine", "mine-2")] == [True, True]


def test_a_learning_curve_grows_with_the_training_rows(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(home, capsys, "learning-curve", "--fusion", "gated", "--shares", "0.3,1", *QUICK)
    points = [(point["share"], point["posts"]) for point in found["curve"] if "gated" in point.values()]
    assert [share for share, _ in points] == [0.3, 1.0]
    assert points[0][1] < points[1][1]


def test_unlabelled_posts_are_learned_from_beside_the_head_that_does_not(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(home, capsys, "train-head", "--fusion", "concat", "--unlabelled", "self", *QUICK)
    assert {"supervised", "linear"} <= found["tests"].keys()


def test_nothing_unfinished_is_left_behind(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = as_json(home, capsys, "train-head", "--fusion", "gated", *QUICK)
    kept = as_json(home, capsys, "train-head", "--fusion", "gated", "--checkpoint-every", "1", *QUICK)
    assert kept["metrics"] == plain["metrics"]
    assert not list((home / "runs" / ".unfinished").glob("*"))


def test_locked_posts_are_reached_by_the_test_command_alone(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_demo_corpus(tmp_path, posts=100)
    (tmp_path / "cache").symlink_to(home / "cache")
    splits = home / "cache" / "splits"
    before = set(splits.glob("*"))
    try:
        run = as_json(tmp_path, capsys, "train-head", "--fusion", "gated", "--hold-out", "0.2", *QUICK)["run"]
        results = [as_json(tmp_path, capsys, "test", run) for _ in range(2)]
        assert [result["evaluations"] for result in results] == [1, 2]
        assert results[0]["metrics"] == results[1]["metrics"]
        assert results[0]["rows"] >= 10
        later = as_json(tmp_path, capsys, "train-head", "--fusion", "gated", "--folds", "2", *QUICK)["run"]
        stored = [json.loads(path.read_text()) for path in splits.glob("test-set-*.json")]
        locked = {key for one in stored for modality in ("image", "text") for key in one[modality]}
        contents = json.loads((tmp_path / later / "split.json").read_text())["contents"].values()
        assert locked
        assert locked.isdisjoint(key for pair in contents for key in pair)
    finally:
        for path in set(splits.glob("*")) - before:
            path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["R1-self-concat", "R1-self-attention", "R1-self-coattention"])
def test_encoders_from_scratch_run_from_pixels_to_predictions(
    home: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    assert here(home, ["extract", "--recipe", recipe, "--max-bad", "1"]) == 0
    small = ["--folds", "0", "--epochs", "1", "--hidden", "32"]
    run = home / as_json(home, capsys, "train-head", "--recipe", recipe, *small)["run"]
    found = as_json(home, capsys, "predict", str(run), "--rows", "all")
    again = {one["id"]: one["label"] for one in found["predictions"]}
    assert all(again[post] == label for post, label in scored(run).items())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [recipe.name for recipe in read_recipes()])
def test_every_recipe_runs_on_the_embedded_encoders(
    home: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    small = ["--folds", "0", "--epochs", "1", "--hidden", "32", "--token-width", "32", "--patches", "2x2", *EMBEDDED]
    found = as_json(home, capsys, "train-head", "--recipe", recipe, *small)
    assert Path(found["run"]).name.startswith(recipe)
    assert found["tests"].keys() >= {"linear"}
