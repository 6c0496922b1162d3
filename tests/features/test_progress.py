"""Reports of progress reach whoever watches, and nobody else."""

from __future__ import annotations

from progress_records import Records

from msa.features import progress


def test_reports_reach_every_watcher_while_it_watches() -> None:
    progress.stage("before anyone watches")
    one, other = Records(), Records()
    with progress.watched(one):
        progress.begin()
        with progress.watched(other):
            progress.stage("embedding")
            progress.step("minilm", 3, 10, "items")
            progress.detail("loading")
        progress.finish()
    progress.stage("after")
    assert other.events == [("stage", "embedding"), ("step", ("minilm", 3, 10, "items")), ("detail", "loading")]
    assert one.events == [("stage", "loading"), *other.events, ("finish", None)]
    assert one.kept() == "nothing was written"
