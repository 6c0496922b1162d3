"""What a report says beside charts: the headline, the facts, the settings, the costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import metric_title
from ..runs.stored_run import StoredRun
from .section import Table
from .words import Words

NEUTRAL = ("auto", "none", "paper")  # defaults of the other settings, beside 0 and empty ones
Fact = tuple[str, str]
Row = list[str]


def headline(runs: Sequence[StoredRun], words: Words) -> list[tuple[str, str, str]]:
    """The main metrics of one run or sweep: name, value, interval or what the value is."""
    evaluated = [run.evaluation for run in runs if run.evaluation]
    if len(evaluated) == 1:
        found = evaluated[0]
        return [
            (
                words(metric_title(name)),
                f"{found.metrics[name]['mean']:.3f}",
                words("95 % interval {low} to {high}").format(low=f"{one.low:.3f}", high=f"{one.high:.3f}")
                if one.reliable
                else words("no interval from so few posts"),
            )
            for name, one in found.intervals.items()
        ]
    if len(runs) == 1 and (outer := runs[0].sweep.get("outer")):
        note = words("of the winner on posts that no choice has seen")
        return [(words(metric_title(one)), f"{outer['metrics'][one]['mean']:.3f}", note) for one in INTERVAL_METRICS]
    return []


def facts(runs: Sequence[StoredRun], words: Words) -> list[Fact]:
    """What was run on what, when, and by which command; of several runs, what they share."""
    found: list[Fact] = []
    if len(runs) > 1:
        found.append((words("runs"), str(len(runs))))
    made = [run.made for run in runs if run.made]
    if data := _joined(
        f"{one['data']['name']} ({words('{count} posts').format(count=one['data']['posts'])})" for one in made
    ):
        found.append((words("data"), data))
    if len(runs) == 1:
        found += _own_facts(runs[0], words)
    written = max(run.written for run in runs).strftime("%Y-%m-%d %H:%M")
    found.append((words("date"), _joined(one["date"][:10] for one in made) or written))
    if version := _joined(one["version"] for one in made):
        found.append((words("version"), f"msa {version}"))
    return found


def commands(runs: Sequence[StoredRun]) -> list[str]:
    """The commands that made the runs, as typed."""
    return list(dict.fromkeys(run.made["command"] for run in runs if run.made.get("command")))


def _joined(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))


def _own_facts(run: StoredRun, words: Words) -> list[Fact]:
    found = []
    if run.config:
        found.append((words("head"), str(run.config["head"].get("fusion"))))
        found.append((words("encoders"), str(run_settings(run)["encoders"])))
    if run.evaluation:
        each = run.evaluation.folds // run.evaluation.repeats
        counts = {"posts scored": run.evaluation.rows, "folds": each, "repeats": run.evaluation.repeats}
        found += [(words(name), str(count)) for name, count in counts.items()]
    return found


def run_settings(run: StoredRun) -> dict[str, object]:
    """Every setting of a run by name: of head and training, the encoders of each modality, and all encoders."""
    if not run.config:
        return {}
    head = {name: value for name, value in run.config["head"].items() if name not in ("options", "members")}
    encoders = {name: "+".join(str(one.get("name")) for one in side) for name, side in run.config["encoders"].items()}
    settings = head | dict(run.config["head"].get("options", {})) | dict(run.config["training"]) | encoders
    plain: dict[str, object] = {
        name: value if isinstance(value, int | float) else _plain(value) for name, value in settings.items()
    }
    return plain | {"encoders": " + ".join(one for one in encoders.values() if one)}


def settings_table(runs: Sequence[StoredRun], words: Words) -> Table | None:
    """The settings in which a run differs from the defaults, one column per run; None where no run stores any."""
    configured = [run for run in runs if run.config or run.sweep]
    if not configured:
        return None
    changed = [_changed(run.config or run.sweep) | _space(run.sweep) for run in configured]
    names = list(dict.fromkeys(name for one in changed for name in one))
    header = [words("setting"), *([run.name for run in configured] if len(configured) > 1 else [words("value")])]
    rows = [[name, *(one.get(name, "") for one in changed)] for name in names]
    return Table("settings", words("What differs from the defaults."), header, rows, texts=True)


def _space(sweep: Mapping[str, Any]) -> dict[str, str]:
    """What a sweep varied, and how it searched."""
    space = {f"--set {name}": _plain(values) for name, values in sweep.get("space", {}).items()}
    search = {name: _plain(value) for name, value in sweep.get("search", {}).items()}
    return space | search


def _changed(config: Mapping[str, Any]) -> dict[str, str]:
    defaults = {"head": asdict(HeadConfig()), "training": asdict(TrainConfig()), "split": DataConfig().split}
    found = {
        name: value
        for part, known in defaults.items()
        for name, value in config.get(part, {}).items()
        if _plain(value) != _plain(known.get(name))
    }
    others = config.get("others", {})
    found |= {name: value for name, value in others.items() if value and value not in NEUTRAL}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> str:
    """A setting as text: the same for a tuple and a list."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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
