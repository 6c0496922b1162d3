"""The table of settings shows those that differ from the defaults, whichever command stored them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from figure_runs import stored_run

from msa.pipeline.commands.options import InputPosts
from msa.pipeline.config.data_config import DataConfig
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.figures.facts import settings_table
from msa.pipeline.figures.words import Words
from msa.pipeline.runs.stored_run import StoredRun

EN = Words("en")


def run_with(data_config: DataConfig, reading: InputPosts, head: HeadConfig, training: TrainConfig) -> StoredRun:
    config = {"head": asdict(head), "training": asdict(training), "split": data_config.split}
    others = {"unlabelled": "none", **reading.reading}
    run = stored_run()
    return replace(run, config=run.config | config | {"others": others})


def test_defaults_are_not_shown() -> None:
    found = settings_table([run_with(DataConfig(), InputPosts(), HeadConfig(), TrainConfig())], EN)
    assert found is not None
    assert found.rows == []


def test_what_was_set_is_shown() -> None:
    data_config = DataConfig(max_missing=1.0, class_order="bad,good", group_by="none")
    reading = InputPosts(data=Path("posts"), column=("text=tweet",), label_rule="agree", limit=7)
    found = settings_table([run_with(data_config, reading, HeadConfig(hidden=5), TrainConfig(loss="emd"))], EN)
    assert found is not None
    assert dict(found.rows) == {
        **{"hidden": "5", "loss": "emd", "max_missing": "1.0", "class_order": "bad,good", "group_by": "none"},
        **{"column": "text=tweet", "label_rule": "agree", "limit": "7"},
    }
