"""The database of a study: one that is locked or fails is named in one line."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cached_posts import cached_posts
from cached_sweeps import search
from optuna.exceptions import StorageInternalError

from msa.features.posts.samples import Corpus
from msa.pipeline.config.search_config import Search
from msa.pipeline.sweeps import study
from msa.pipeline.sweeps.leases import LeaseError
from msa.pipeline.sweeps.study import open_storage, study_url


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


def test_a_database_that_another_program_holds_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "held.db"
    open_storage(study_url(str(path))).engine.dispose()
    monkeypatch.setattr(study, "LOCK_SECONDS", 0.05)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ValueError, match=rf"--study {re.escape(str(path))}: .*locked.*; close the program"):
            open_storage(study_url(str(path)))
    open_storage(study_url(str(path))).engine.dispose()


@pytest.mark.parametrize("error", [StorageInternalError("commit failed"), LeaseError("another process took over")])
def test_a_database_that_fails_while_trials_run_is_one_line(
    posts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(study.Study, "report", fail)
    with pytest.raises(ValueError, match=rf"--study sqlite://.*study\.db: .*{error}"):
        search(posts, tmp_path, Search(trials=2, inner=2, halving=0))
