"""The page of a report: headline, sections of charts and tables, settings; one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ...features.installation import DISTRIBUTION
from ...features.messages import printable
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..evaluation.comparison import p_text
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import Cells, class_cells, mean_sd, metric_cells, metric_title
from .ablation_bars import ablation_charts, row_name
from .calibration import calibration_charts
from .chart import Chart
from .class_scores import class_charts
from .confusion_matrix import confusion_charts
from .differences import compare_predictions
from .epochs import epoch_charts
from .ranking import ranking_charts
from .share_curves import share_charts
from .stored import StoredRun
from .systems import system_charts, systems
from .words import Words

NEUTRAL = ("auto", "none", "both", "paper")  # defaults of the other settings, beside 0 and empty ones
LONGEST = 500  # characters of a text
TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Table:
    """A caption, a header, and rows of cells; the first column is text."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A part of the page; one without charts, tables and notes is left out."""

    title: str
    charts: Sequence[Chart]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


def make_sections(runs: Sequence[StoredRun], words: Words) -> list[Section]:
    """All sections for which these runs hold data, in the order of the page."""
    evaluated = [run for run in runs if run.evaluation]
    single = evaluated[0].evaluation if len(evaluated) == 1 else None
    found = systems(runs)
    compared = [_table("", metric_cells(found), words)] if found else []
    if single and single.tests:
        compared.append(_table("Paired tests on the same test rows", single.test_cells(), words))
    if len(evaluated) > 1:
        compared.append(_difference_table(evaluated, words))
    by_class = [_table("", class_cells(single.per_class), words)] if single else []
    ablations = [_ablation_table(run, words) for run in runs if run.ablation]
    sections = [
        Section(
            words("Head and baselines") if len(evaluated) == 1 else words("Heads"),
            system_charts(runs, words),
            compared,
            [run.evaluation.one_class_text for run in evaluated if run.evaluation and run.evaluation.one_class],
        ),
        Section(words("Training"), epoch_charts(runs, words)),
        Section(words("Classes"), [*confusion_charts(runs, words), *class_charts(runs, words)], by_class),
        Section(words("Probabilities"), [*ranking_charts(runs, words), *calibration_charts(runs, words)]),
        Section(words("Ablation"), ablation_charts(runs, words), ablations),
        Section(words("Missing modalities and learning curves"), share_charts(runs, words)),
    ]
    return [section for section in sections if section.charts or section.tables]


def render_page(runs: Sequence[StoredRun], sections: Sequence[Section], words: Words) -> str:
    """The page as HTML. Every text in it is escaped, control characters and marks of direction are shown as escapes."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["svg"] = lambda chart: Markup(chart.to_svg())
    evaluated = [run.evaluation for run in runs if run.evaluation]
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        language={"en": "en", "zh": "zh-CN"}[words.language],
        title=" · ".join(run.name for run in runs),
        headline=_headline(evaluated[0], words) if len(evaluated) == 1 else [],
        facts=_facts(runs, words),
        sections=sections,
        settings=_settings(runs, words),
        words=words,
        program=f"msa {metadata.version(DISTRIBUTION)}",
    )


def _shown(value: Any) -> Any:
    """A value as the page shows it: a text without control characters, cut where it is very long."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…")


def _headline(found: Any, words: Words) -> list[tuple[str, str, str]]:
    """The main metrics: name, value, interval."""
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


def _facts(runs: Sequence[StoredRun], words: Words) -> list[tuple[str, str]]:
    """What was run on what, and when; of several runs, when alone."""
    facts = []
    if len(runs) == 1:
        run = runs[0]
        if run.config:
            sides = run.config["encoders"].values()
            facts.append((words("head"), str(run.config["head"].get("fusion"))))
            facts.append((words("encoders"), " + ".join(str(one.get("name")) for side in sides for one in side)))
        if run.evaluation:
            each = run.evaluation.folds // run.evaluation.repeats
            counts = {"posts scored": run.evaluation.rows, "folds": each, "repeats": run.evaluation.repeats}
            facts += [(words(name), str(count)) for name, count in counts.items()]
    else:
        facts.append((words("runs"), str(len(runs))))
    return [*facts, (words("written"), max(run.written for run in runs).strftime("%Y-%m-%d %H:%M"))]


def _table(caption: str, cells: Cells, words: Words) -> Table:
    return Table(words(caption), [words(cell) for cell in cells[0]], cells[1])


def _difference_table(runs: Sequence[StoredRun], words: Words) -> Table:
    """Every other run minus the first."""
    first, rows = runs[0], []
    for run in runs[1:]:
        assert first.predictions
        assert run.predictions
        found = compare_predictions(run.predictions, first.predictions)
        if found:
            gaps = [f"{found.metrics[name]:+.3f}" for name in INTERVAL_METRICS]
            rows.append([run.name, *gaps, p_text(found.mcnemar), str(found.rows)])
        else:
            rows.append([run.name, *["–"] * (len(INTERVAL_METRICS) + 1), "0"])
    header = [words("run"), *(words(metric_title(name)) for name in INTERVAL_METRICS), "McNemar p", words("test rows")]
    return Table(words("Differences from {run} on the test rows that both have").format(run=first.name), header, rows)


def _ablation_table(run: StoredRun, words: Words) -> Table:
    assert run.ablation
    several = len({row.fusion for row in run.ablation.rows}) > 1
    rows = [
        [
            row_name(row, words, several=several),
            *(mean_sd(row.metrics[name]) for name in INTERVAL_METRICS),
            p_text(row.tests.mcnemar) if row.tests else "–",
        ]
        for row in run.ablation.rows
    ]
    return Table("", [words("inputs"), *(words(metric_title(one)) for one in INTERVAL_METRICS), "McNemar p"], rows)


def _settings(runs: Sequence[StoredRun], words: Words) -> Table | None:
    """The settings in which a run differs from the defaults, one column per run; None where no run stores any."""
    configured = [run for run in runs if run.config]
    if not configured:
        return None
    changed = [_changed(run.config) for run in configured]
    names = list(dict.fromkeys(name for one in changed for name in one))
    header = [words("setting"), *([run.name for run in configured] if len(configured) > 1 else [words("value")])]
    return Table("", header, [[name, *(one.get(name, "") for one in changed)] for name in names])


def _changed(config: Mapping[str, Any]) -> dict[str, str]:
    defaults = {"head": asdict(HeadConfig()), "training": asdict(TrainConfig())}
    found = {
        name: value
        for part, known in defaults.items()
        for name, value in config[part].items()
        if _plain(value) != _plain(known.get(name))
    }
    others = {**config.get("split", {}), **config.get("others", {})}
    found |= {name: value for name, value in others.items() if value and value not in NEUTRAL}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> str:
    """A setting as text: the same for a tuple and a list."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
