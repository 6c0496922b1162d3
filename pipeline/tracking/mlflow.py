"""A run of MLflow: metrics by epoch, settings as parameters, the small files of the run folder as artifacts."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent that was not asked for

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ...features.messages import first_line, notify
from ...features.store.durable import make_folder
from .events import Event, Folder, Point, Result

EXPERIMENT = "msa"
STORE, ARTIFACTS = "mlflow.db", "mlflow"  # in the folder of runs
FOREIGN = re.compile(r"[^\w\-. /:]")  # what no name of a metric or parameter may have
LONGEST = 6000  # characters of a parameter
MOST = 1000  # metrics of one request
LARGEST = 10_000_000  # bytes of an artifact; weights stay where they are


class MLflowLogger:
    """Writes to the store of MLFLOW_TRACKING_URI, else to `RUNS/mlflow.db`; other results are children of the run."""

    def __init__(self, runs: Path, name: str) -> None:
        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)  # they tell of each table that they make
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        artifacts = None if uri else (runs / ARTIFACTS).resolve().as_uri()
        if not uri:
            make_folder(runs)
            uri = f"sqlite:///{(runs / STORE).resolve()}"
        try:
            self.uri, self.client = uri, MlflowClient(uri)
            known = self.client.get_experiment_by_name(EXPERIMENT)
            self.experiment = known.experiment_id if known else self.client.create_experiment(EXPERIMENT, artifacts)
            self.run = self.client.create_run(self.experiment, run_name=name).info.run_id
        except MlflowException as error:
            raise ValueError(f"--log mlflow: {uri}: {first_line(error)}; set MLFLOW_TRACKING_URI") from error
        notify(f"MLflow: `{self.where}` (the page comes with `pip install mlflow`)")

    @property
    def where(self) -> str:
        return f"mlflow ui --backend-store-uri {self.uri}"

    def write(self, events: Sequence[Event]) -> None:
        points = [event for event in events if isinstance(event, Point)]
        metrics = [
            Metric(_name(f"{point.series}/{name}"), value, _now(), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), MOST):
            self.client.log_batch(self.run, metrics=metrics[start : start + MOST])
        for event in events:
            if isinstance(event, Result):
                self._write_result(event)
            elif isinstance(event, Folder):
                for file in sorted(event.path.iterdir()):
                    if file.is_file() and file.suffix != ".safetensors" and file.stat().st_size <= LARGEST:
                        self.client.log_artifact(self.run, str(file))

    def close(self, failed: bool) -> None:
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")

    def _write_result(self, event: Result) -> None:
        run = self.run
        if event.name:
            tags = {MLFLOW_PARENT_RUN_ID: self.run}
            run = self.client.create_run(self.experiment, run_name=event.name, tags=tags).info.run_id
        params = [Param(_name(key), str(value)[:LONGEST]) for key, value in event.settings.items() if value != ""]
        metrics = [Metric(_name(key), value, _now(), 0) for key, value in event.metrics.items()]
        self.client.log_batch(run, metrics, params)
        if event.name:
            self.client.set_terminated(run)


def _name(text: str) -> str:
    return FOREIGN.sub("_", text)


def _now() -> int:
    return int(time.time() * 1000)
