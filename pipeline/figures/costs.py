"""The cost ledger: what extraction cost once, and what each head has cost since."""

from __future__ import annotations

from collections.abc import Sequence

from ..runs.stored_run import StoredRun
from .facts import run_settings
from .section import Table
from .words import Words

Row = list[str]


def cost_table(runs: Sequence[StoredRun], words: Words) -> list[Table]:
    """One table: extraction by modality, then the heads of each run or sweep, in seconds of one process."""
    rows = _extraction(runs, words)
    for run in runs:
        if run.history:
            heads = len({(line.get("fold"), line.get("member")) for line in run.history})
            rows.append(_row(words("heads of {run}").format(run=run.name), heads, _training_seconds(run)))
        if lines := run.sweep.get("leaderboard"):
            heads = len(lines) * int(run.sweep["search"]["inner"])
            known = [line["head_seconds"] for line in lines if line["head_seconds"] is not None]
            seconds = sum(known) * int(run.sweep["search"]["inner"])
            rows.append(_row(words("heads of {run}").format(run=run.name), heads, seconds))
    if not rows:
        return []
    header = [words("what"), words("number"), words("seconds"), words("seconds each")]
    caption = words("Extraction is paid once, for all heads; seconds are those of one process.")
    return [Table("cost", caption, header, rows)]


def _extraction(runs: Sequence[StoredRun], words: Words) -> list[Row]:
    """A row per modality and encoders that the runs read, each once."""
    found: dict[str, Row] = {}
    for run in runs:
        for modality, seconds in run.config.get("extract_seconds", {}).items():
            name = words("extraction of {modality}: {encoders}").format(
                modality=words(modality), encoders=run_settings(run)[modality]
            )
            found[name] = _row(name, _posts(run), seconds)
        for line in run.sweep.get("leaderboard", [])[:1]:
            name = words("extraction")
            if not found:
                found[name] = _row(name, _posts(run), line["extract_seconds"])
    return list(found.values())


def _training_seconds(run: StoredRun) -> float | None:
    return sum(line["seconds"] for line in run.history) if "seconds" in run.history[0] else None


def _posts(run: StoredRun) -> int | None:
    return run.made["data"]["posts"] if run.made else None


def _row(name: str, count: int | None, seconds: float | None) -> Row:
    each = f"{seconds / count:.3g}" if seconds is not None and count else "–"
    return [name, str(count or "–"), "–" if seconds is None else f"{seconds:.1f}", each]
