"""`msa table`: runs as the rows of a results table, with paired tests against one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...features.csv_text import BOM, to_csv
from ...features.messages import near_or_all
from ...features.text_table import Part, Report
from ..metrics.scores import LOWER_IS_BETTER, METRICS, ORDINAL_METRICS
from ..metrics.statistics import MIN_GROUPS, Interval
from ..metrics.tables import SWEEP_METRICS, mean_sd, metric_title
from ..runs.results import p_text, stars
from .table_formats import Cell, PaperTable
from .table_rows import TableRow, baseline_rows, grouped, listed, run_rows

Format = Literal["text", "latex", "markdown", "csv"]


@dataclass(frozen=True)
class RunTable(Report):
    """The rows, the `metrics` that are columns, and the name of the row that the others are tested `against`, if any.

    `intervals` tells whether intervals are shown, `remarks` what is not in the table, and why.
    """

    rows: list[TableRow]
    metrics: tuple[str, ...]
    against: str | None
    intervals: bool
    remarks: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "metrics": list(self.metrics),
            "against": self.against,
            "rows": [
                {
                    "name": row.name,
                    "run": str(row.run.path),
                    "scored": row.scored,
                    "metrics": {name: row.metrics.get(name) for name in self.metrics},
                    "intervals": {name: asdict(one) for name, one in row.intervals.items() if name in self.metrics},
                    "paired": asdict(row.paired) if row.paired else None,
                }
                for row in self.rows
            ],
            "remarks": self.remarks,
        }

    def parts(self) -> list[Part]:
        """The table as the command prints it."""
        return self.to_paper().parts()

    def to_text(self, to: Format = "text") -> str:
        """The table in this format."""
        if to == "csv":
            return self._to_csv()
        paper = self.to_paper()
        return {"text": paper.to_text, "markdown": paper.to_markdown, "latex": paper.to_latex}[to]()

    def _to_csv(self) -> str:
        """One line per row and one number per cell; empty where there is none."""
        lines = [self.flat(row) for row in self.rows]
        return to_csv(list(lines[0]), (line.values() for line in lines)).removeprefix(BOM).rstrip("\n")

    def flat(self, row: TableRow) -> dict[str, object]:
        """The line of a row in CSV."""
        line: dict[str, object] = {"name": row.name, "posts": row.scores.rows, "folds": row.scores.folds}
        for name in self.metrics:
            value = row.metrics.get(name, {"mean": "", "std": ""})
            line |= {f"{name}_mean": value["mean"], f"{name}_std": "" if row.scores.folds == 1 else value["std"]}
            if self.intervals:
                line |= _bounds(name, row.intervals.get(name))
        if self.against is not None:
            found = row.test
            line |= {"common_posts": row.paired.posts if row.paired else "", "mcnemar": found.mcnemar if found else ""}
            for name in self.metrics:
                line[f"{name}_difference"] = found.difference.get(name, "") if found else ""
                line |= _bounds(f"{name}_difference", found.intervals.get(name) if found else None)
                line[f"corrected_t_{name}"] = _blank(found.corrected_t.get(name) if found else None)
        return line

    def to_paper(self) -> PaperTable:
        """The table that the formats of papers show."""
        tested = self._tested
        compared = [name for name in self.metrics if any(row.test and name in row.test.intervals for row in self.rows)]
        header = ["Run", *map(heading, self.metrics)]
        if self.against is not None:
            header += [f"Δ {heading(name)}" for name in compared] if self.intervals else []
            header += ["McNemar p", *(f"t p, {heading(name)}" for name in tested)]
        rows = [
            [
                Cell(row.name),
                *(self.metric_cell(row, name) for name in self.metrics),
                *([_difference(row, name) for name in compared] if self.intervals else ()),
                *self._tests(row, tested),
            ]
            for row in self.rows
        ]
        return PaperTable(header, rows, self.caption(), self.notes())

    @property
    def _tested(self) -> list[str]:
        """The metrics of which any row has a t-test."""
        tests = [row.test for row in self.rows if row.test]
        return [name for name in self.metrics if any(test.corrected_t.get(name) is not None for test in tests)]

    def notes(self, *, cells_alone: bool = False) -> list[str]:
        """What the marks mean, and what is not shown; with `cells_alone`, where no column shows p-values."""
        return [*self._legend(bool(self._tested), cells_alone), *self.remarks]

    def metric_cell(self, row: TableRow, name: str) -> Cell:
        """The mean and deviation of a metric, bold where it is the best of all rows; else a dash."""
        if name not in row.metrics:
            return Cell("-")
        means = [round(one.metrics[name]["mean"], 3) for one in self.rows if name in one.metrics]
        top = min(means) if name in LOWER_IS_BETTER else max(means)
        best = self.comparable and len(means) > 1 and round(row.metrics[name]["mean"], 3) == top
        text, bounds = mean_sd(row.metrics[name]).replace("±", "± "), row.intervals.get(name)
        if self.intervals and bounds and bounds.reliable:
            text += f" [{bounds.low:.3f}, {bounds.high:.3f}]"
        return Cell(text, stars(row.test.corrected_t.get(name) if row.test else None), best)

    def _tests(self, row: TableRow, tested: Sequence[str]) -> list[Cell]:
        if self.against is None:
            return []
        found = row.test
        mcnemar = Cell(p_text(found.mcnemar), stars(found.mcnemar)) if found else Cell("-")
        return [mcnemar, *(Cell(p_text(found.corrected_t.get(name) if found else None)) for name in tested)]

    @cached_property
    def comparable(self) -> bool:
        """Whether all rows were tested on the same posts."""
        return len({row.run.tested for row in self.rows}) == 1

    def caption(self) -> str:
        """What the numbers are; per group of rows where these differ in posts or folds."""
        single = all(row.scores.folds == 1 for row in self.rows)
        groups = grouped((row.scored, row.name) for row in self.rows)
        scored = [f"{listed(names)}: {shown}" if len(groups) > 1 else shown for shown, names in groups.items()]
        return f"{'Test metrics' if single else 'Mean ± standard deviation over folds'} ({'; '.join(scored)})."

    def _legend(self, t_tests: bool, cells_alone: bool) -> list[str]:
        notes = ["In brackets: 95 % bootstrap interval over groups of duplicates."] * self.intervals
        if not any(row.test for row in self.rows) or (cells_alone and not t_tests):
            return notes
        t_test = "by the corrected resampled t-test over folds"
        by = f", {t_test}"
        if not cells_alone:
            by = ": beside the p of McNemar's test by that test" + f", beside a metric {t_test}" * t_tests
            notes += [f"Δ: difference to {self.against}."] * self.intervals
        notes.append(
            f"* p < 0.05, ** p < 0.01 for a difference to {self.against}{by}; "
            "p-values are not adjusted for the number of comparisons."
        )
        return notes


def tabulate_runs(
    paths: Sequence[Path],
    *,
    metrics: Sequence[str] = (),
    against: Path | None = None,
    baselines: bool = False,
    intervals: bool = False,
) -> RunTable:
    """Tabulate run folders, and all runs of folders of runs; without `metrics`, by SWEEP_METRICS.

    `against` is the path of a run, or the name of a row: every other row is tested against it. It is added where
    `paths` lack it. With `baselines`, those of all runs follow; equal ones are one row. Raises ValueError for an
    unknown metric, and where there is no run or a damaged one.
    """
    check_metrics(metrics)
    runs, other = run_rows(paths, against)
    rows = [*runs, *(baseline_rows(runs, other) if baselines else ())]
    table = RunTable(rows, tuple(dict.fromkeys(metrics or SWEEP_METRICS)), other.name if other else None, intervals, [])
    return replace(table, remarks=list(_remarks(table)))


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise ValueError for a name that is no metric."""
    for name in metrics:
        if name not in (known := METRICS | ORDINAL_METRICS):
            raise ValueError(f"--metric {name}: not a metric{near_or_all(name, known)}")


def _remarks(table: RunTable) -> Iterator[str]:
    """What the table does not show, and why."""
    rows = table.rows
    if not table.comparable:
        groups = grouped((row.run.tested, row.name) for row in rows)
        names = "; ".join(map(listed, groups.values()))
        yield f"No best is marked, since not all rows were tested on the same posts: {names}."
    if table.intervals:
        lacking = [heading(name) for name in table.metrics if not any(name in row.intervals for row in rows)]
        lacking += ["baselines of earlier versions"] * any(not row.intervals for row in rows)
        few = [row.name for row in rows if not all(one.reliable for one in row.intervals.values())]
        if lacking:
            yield f"No interval is stored for {', '.join(lacking)}."
        if few:
            yield f"No interval for {listed(few)}: the posts form fewer than {MIN_GROUPS} groups of duplicates."
    if table.against is None:
        return
    reasons = grouped((row.reason, row.name) for row in rows if row.reason)
    yield from (f"{listed(names)}: {reason}." for reason, names in reasons.items())
    single = [row.name for row in rows if row.test and not row.reason and row.scores.folds == 1]
    if single:
        yield f"{listed(single)}: one split, so no t-test."
    untested = [row.name for row in rows if row.paired is None and row.name != table.against]
    if untested:
        yield f"{listed(untested)}: no test, since runs of earlier versions do not store the predictions of baselines."


def heading(metric: str) -> str:
    """`Macro F1` for `macro_f1`."""
    title = metric_title(metric).replace("f1", "F1").replace("mcc", "MCC").replace("mae", "MAE").replace("qwk", "QWK")
    return title[0].upper() + title[1:]


def _difference(row: TableRow, name: str) -> Cell:
    """`+0.012 [-0.003, +0.027]`, without the bounds of too few groups."""
    found = row.test
    if not found:
        return Cell("-")
    bounds = found.intervals.get(name)
    shown = f" [{bounds.low:+.3f}, {bounds.high:+.3f}]" if bounds and bounds.reliable else ""
    return Cell(f"{found.difference[name]:+.3f}{shown}")


def _bounds(column: str, found: Interval | None) -> dict[str, object]:
    """The cells of an interval; empty where there is none, or of too few groups."""
    shown = found if found and found.reliable else None
    return {f"{column}_low": shown.low if shown else "", f"{column}_high": shown.high if shown else ""}


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
