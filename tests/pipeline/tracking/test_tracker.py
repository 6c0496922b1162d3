"""What is logged is read back by the libraries that it is for: event files, an SQLite store, a study, a log file."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from cached_posts import N, cached_posts, stage

from msa.cli import run_command
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.runs.stored_run import read_run
from msa.pipeline.tracking.events import Event, Note, Point, Result, flat, log
from msa.pipeline.tracking.tracker import Background, track
from msa.pipeline.train_head import train_head

EPOCHS = 3
OPTIONS = ["--image", "images", "--text", "texts", "--epochs", str(EPOCHS), "--patience", "0", "--device", "cpu"]


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The table of N posts whose features are cached; its folder is the working folder."""
    monkeypatch.chdir(tmp_path)
    corpus = cached_posts(tmp_path)
    lines = [f"{s.id},{s.image.name if s.image else ''},{s.text},{s.label}" for s in corpus.samples]
    (tmp_path / "posts.csv").write_text("\n".join(["id,image,text,label", *lines]))
    return "posts.csv"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command; return what it noted."""
    capsys.readouterr()
    code = run_command([*arguments, *OPTIONS])
    noted = capsys.readouterr().err
    assert code == 0, noted
    return noted


def event_files(folder: Path) -> dict[str, Any]:
    """The event files of each folder below this one, read by TensorBoard."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names = {file.parent.relative_to(folder).as_posix() for file in folder.rglob("events.out.*")}
    found = {name: EventAccumulator(str(folder / name)) for name in names}
    for one in found.values():
        one.Reload()
    return found


def hparams(accumulator: Any) -> dict[str, Any]:
    """The settings that event files hold for TensorBoard's table of hparams."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData.FromString(
        accumulator.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    )
    kinds = ("string_value", "number_value", "bool_value")
    return {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in data.session_start_info.hparams.items()
        if value.WhichOneof("kind") in kinds
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_a_curve_per_fold_and_the_settings_with_the_final_metrics(
    posts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    noted = run(capsys, "train-head", posts, "--fusion", "concat", "--folds", "2", "--log", "tensorboard")
    assert "tensorboard --logdir runs/tensorboard" in noted
    stored = read_run(Path("runs/concat"))
    found = event_files(Path("runs/tensorboard/concat"))
    for fold in range(2):
        history = [line for line in stored.history if line["fold"] == fold]
        for tag, column in (("loss/train", "train_loss"), ("accuracy/valid", "valid_accuracy"), ("lr", "lr")):
            points = found[f"fold-{fold}"].Scalars(tag)
            assert [point.step for point in points] == [1, 2, 3]
            assert [point.value for point in points] == pytest.approx([line[column] for line in history], rel=1e-6)
    settings = hparams(found["."])
    assert (settings["fusion"], settings["epochs"], settings["image"]) == ("concat", EPOCHS, "images")
    assert stored.evaluation
    accuracy = stored.evaluation.metrics["accuracy"]["mean"]
    assert found["."].Scalars("test_accuracy")[0].value == pytest.approx(accuracy, rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ablations_and_sweeps_log_each_variant_and_each_trial(posts: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    run(capsys, "ablate", posts, "--fusion", "concat", "--log", "tensorboard")
    found = event_files(Path("runs/tensorboard/ablate-concat"))
    assert {f"concat/{name}/fold-0" for name in ("both", "image", "text")} < found.keys()
    assert hparams(found["concat/image"])["inputs"] == "image"
    ablation = read_run(Path("runs/ablate-concat")).ablation
    assert ablation
    row = next(row for row in ablation.rows if row.inputs == "image")
    logged = found["concat/image"].Scalars("test_accuracy")[0].value
    assert logged == pytest.approx(row.metrics["accuracy"]["mean"], rel=1e-6)
    sizes = ["--set", "hidden=4,8", "--trials", "2", "--inner", "2", "--fusion", "concat", "--halving", "0"]
    run(capsys, "sweep", posts, *sizes, "--log", "tensorboard")
    found = event_files(Path("runs/tensorboard/sweep"))
    trials = [found[f"fold 1/trial-{number}"] for number in range(2)]
    assert {hparams(trial)["hidden"] for trial in trials} == {4, 8}
    assert all(trial.Scalars("accuracy/inner")[0].step == EPOCHS for trial in trials)
    assert hparams(found["."])["hidden"] in (4, 8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries below MLflow
def test_mlflow_has_metrics_by_epoch_settings_and_files(
    posts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason="MLflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    noted = run(capsys, "train-head", posts, "--fusion", "concat", "--folds", "2", "--log", "mlflow")
    uri = f"sqlite:///{Path('runs/mlflow.db').resolve()}"
    assert uri in noted
    assert "INFO" not in noted
    client = tracking.MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("msa").experiment_id])
    assert (found.info.run_name, found.info.status) == ("concat", "FINISHED")
    assert (found.data.params["fusion"], found.data.params["epochs"]) == ("concat", str(EPOCHS))
    stored = read_run(Path("runs/concat"))
    history = [line["valid_loss"] for line in stored.history if line["fold"] == 1]
    points = client.get_metric_history(found.info.run_id, "fold-1/valid_loss")
    assert [(point.step, point.value) for point in points] == list(zip((1, 2, 3), history, strict=True))
    assert stored.evaluation
    assert found.data.metrics["test_macro_f1"] == stored.evaluation.metrics["macro_f1"]["mean"]
    files = {one.path for one in client.list_artifacts(found.info.run_id)}
    assert files >= {"config.json", "metrics.json", "predictions.csv", "report.html"}
    assert "head.safetensors" not in files
    assert run_command(["sweep", posts, "--fusion", "a+b", "--log", "mlflow", *OPTIONS]) == 2
    ended = client.search_runs([found.info.experiment_id])
    assert {one.info.status for one in ended} <= {"FINISHED", "FAILED"}


def test_a_study_opens_in_optuna_dashboard(posts: str, capsys: pytest.CaptureFixture[str]) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    import optuna

    run(capsys, "sweep", posts, "--set", "hidden=4,8", "--trials", "2", "--inner", "2", "--fusion", "concat")
    storage = optuna.storages.RDBStorage("sqlite:///runs/sweep/study.db")
    app = dashboard.wsgi(storage)

    def get(path: str) -> str:
        answer: list[str] = []
        environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        body = b"".join(app(environ, lambda status, headers, error=None: answer.append(status)))
        assert answer[0].startswith("200"), answer
        return body.decode()

    (study,) = optuna.get_all_study_summaries(storage)
    assert study.study_name in get("/api/studies")
    assert '"hidden"' in get(f"/api/studies/{study._study_id}")


def test_a_log_file_has_notes_stages_epochs_and_errors_with_times(
    posts: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--fusion", "concat", "--folds", "2", "--log-file", "logs/msa.log"]
    noted = run(capsys, "train-head", posts, *words)
    lines = Path("logs/msa.log").read_text("utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ", line) for line in lines)
    texts = [line.partition(" ")[2] for line in lines]
    assert texts[0] == f"msa train-head {posts} {' '.join([*words, *OPTIONS])}"
    for line in noted.splitlines():
        assert line.removeprefix("msa: ") in texts
    epochs = [text for text in texts if re.match(r"fold-[01], epoch [123]: train_loss \d", text)]
    assert len(epochs) == 2 * EPOCHS
    assert texts[-1] == "written: runs/concat"
    assert run_command(["train-head", posts, *words, *OPTIONS, "--image", "nothing"]) == 2
    assert "error: no image features of" in Path("logs/msa.log").read_text("utf-8").splitlines()[-1]
    capsys.readouterr()
    assert run_command(["train-head", posts, "--log-file", str(tmp_path), *OPTIONS]) == 2
    assert "--log-file" in capsys.readouterr().err


class Broken:
    """A logger whose store fails after the first event."""

    where = "the store"

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def write(self, events: Sequence[Event]) -> None:
        if self.seen:
            raise OSError("the disk is full")
        self.seen += events

    def close(self, failed: bool) -> None:
        """Nothing to close."""


def test_a_store_that_fails_is_told_and_ends_no_training() -> None:
    background = Background(Broken())
    background.queue.put(Note("first"))
    while not background.logger.seen:  # type: ignore[attr-defined]
        threading.Event().wait(0.01)
    background.queue.put(Note("second"))
    background.queue.put(Note("third"))
    with pytest.warns(Notice, match=r"the store: 2 entries were not logged \(the disk is full\); results are not"):
        background.finish(failed=False)


def test_a_curve_goes_on_where_its_training_begins_again(tmp_path: Path) -> None:
    with track("none", tmp_path, "run", tmp_path / "log"):
        for step in (1, 2, 1, 2, 9):
            log(Point("fold-0", step, {"loss": 1.0}))
    steps = re.findall(r"fold-0, epoch (\d+)", (tmp_path / "log").read_text())
    assert steps == ["1", "2", "3", "4", "9"]


def test_nothing_is_logged_after_the_command(tmp_path: Path) -> None:
    with track("none", tmp_path, "run", tmp_path / "log"):
        log(Result("inside", {}, {"accuracy": 0.5}))
    log(Result("outside", {}, {"accuracy": 0.5}))
    assert "inside: accuracy 0.5" in (tmp_path / "log").read_text()
    assert "outside" not in (tmp_path / "log").read_text()


def test_settings_of_any_depth_get_names_of_one_level() -> None:
    found = flat(head=HeadConfig("concat", options={"rank": 2}), path=Path("x"), image=("a", "b"))
    assert (found["fusion"], found["options.rank"], found["path"], found["image"]) == ("concat", 2, "x", "a,b")
    assert all(isinstance(value, str | int | float | None) for value in found.values())


def test_logging_changes_no_number(tmp_path: Path) -> None:
    corpus: Corpus = cached_posts(tmp_path)
    quick = TrainConfig(epochs=2, batch_size=16)
    plain = train_head(corpus, stage(corpus), HeadConfig("concat", hidden=8), quick, runs=tmp_path / "runs")
    with track("none", tmp_path, "run", tmp_path / "log"):
        logged = train_head(corpus, stage(corpus), HeadConfig("concat", hidden=8), quick, runs=tmp_path / "runs")
    assert logged.evaluation == plain.evaluation
    assert plain.evaluation.rows == N


@pytest.mark.parametrize(("log_", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow-skinny")])
def test_an_absent_package_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_: str, package: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.endswith(f".tracking.{log_}") or name.startswith(log_)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, log_, None)
    assert run_command(["train-head", "posts", "--log", log_]) == 2
    noted = capsys.readouterr().err
    assert re.fullmatch(rf"msa: {package} is not installed: `pip install [^`]+`\n", noted), noted
