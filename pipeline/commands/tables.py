"""The commands that tabulate runs for a paper: table, compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from ...features.messages import printable
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from .console import note, say, show, to_json
from .declare import HEADS, command
from .options import InputPosts, Json, Runs, named_run

if TYPE_CHECKING:
    from ..evaluation.run_grid import RunGrid
    from ..evaluation.run_table import RunTable

app = typer.Typer()
Against = Annotated[Path | None, Option(help="Run, or name of a row, that all others are tested against.")]
To = Annotated[Literal["text", "latex", "markdown", "csv"], Option(help="Format.")]
Out = Annotated[Path | None, Option(help="File to write, instead of printing.")]


@command(app, panel=HEADS, example="msa table runs --against gated --to latex --out table.tex")
def table(
    folders: Annotated[
        list[Path], Argument(metavar="RUN...", help="Run folders, their names in --runs, or folders of runs.")
    ],
    metric: Annotated[
        list[str], Option(help="Metric of a column; repeatable. If left out: accuracy, macro_f1, weighted_f1.")
    ] = [],  # noqa: B006 (typer copies it)
    against: Against = None,
    baselines: Annotated[bool, Option("--baselines", help="Add the baselines of the runs as rows.")] = False,
    intervals: Annotated[bool, Option("--intervals", help="Add 95 % intervals.")] = False,
    grid: Annotated[bool, Option("--grid", help="Encoders as rows and heads as columns.")] = False,
    to: To = "text",
    out: Out = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Tabulate runs, with paired tests against one of them.

    Rows are runs, columns are metrics as mean and standard deviation over folds. LaTeX and Markdown show the best of
    each column in bold.
    """
    from ..evaluation.run_grid import RunGrid
    from ..evaluation.run_table import tabulate_runs

    _check_output(to, out, as_json)
    if grid and baselines:
        raise ValueError("--grid has a cell for each run and none for baselines; leave out one of the two")
    found = tabulate_runs(
        [named_run(one, runs) for one in folders],
        metrics=metric,
        against=runs / against if against and not against.exists() and (runs / against).exists() else against,
        baselines=baselines,
        intervals=intervals,
    )
    _give(RunGrid(found) if grid else found, found.remarks, to, out, as_json)


@command(
    app,
    panel=HEADS,
    example="msa compare posts --text minilm,lexicon --fusion gated,concat --folds 10 --to latex --out table.tex",
)
def compare(
    posts: InputPosts,
    data_config: DataConfig,
    head: HeadConfig,
    training: TrainConfig,
    fusion: Annotated[
        str, Option(help="Fusion heads, as gated,concat; or all, all-pooled, all-tokens.")
    ] = HeadConfig.fusion,
    metric: Annotated[list[str], Option(help="Metric of the cells; repeatable. If left out: accuracy.")] = [],  # noqa: B006 (typer copies it)
    against: Against = None,
    to: To = "text",
    out: Out = None,
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the folder of the runs.")] = "compare",
    as_json: Json = False,
) -> None:
    """Train heads on pairs of encoders, and tabulate them.

    The table has encoders as rows and heads as columns. Encoders to compare are given as --image a,b and --text c,none;
    those joined by + are read side by side. Runs that are there are not trained again.
    """
    from ..compare import combine
    from ..compare import compare as train
    from ..evaluation.run_grid import RunGrid
    from ..evaluation.run_table import check_metrics, tabulate_runs
    from ..runs.destination import check_name
    from ..sweeps.space import read_fusions

    _check_output(to, out, as_json)
    check_metrics(metric)
    check_name(name)
    heads = [replace(head, fusion=one) for one in dict.fromkeys(read_fusions(fusion))]
    combinations = combine(data_config, heads, image=_choices(data_config.image), text=_choices(data_config.text))
    paths = train(posts.read(), combinations, training, runs=runs / name, reading=posts.reading)
    reference = runs / name / against if against and not against.exists() else against
    found = tabulate_runs(paths, metrics=metric or ["accuracy"], against=reference)
    _give(RunGrid(found), found.remarks, to, out, as_json)


def _choices(names: Sequence[str]) -> list[str]:
    """The encoders of one modality to choose from, `a,b`; names without a comma are read side by side."""
    if not any("," in name for name in names):
        return ["+".join(names)]
    return list(dict.fromkeys(choice.strip() for name in names for choice in name.split(",") if choice.strip()))


def _check_output(to: str, out: Path | None, as_json: bool) -> None:
    """Raise ValueError, before anything is read, where a table cannot be given as asked."""
    from ..runs.destination import check_writable

    if as_json and to != "text":
        raise ValueError(f"--json and --to {to} are two formats; leave out one of them")
    if out is not None and out.is_dir():
        raise ValueError(f"--out {out} is a folder; name a file in it, as {out / 'table.tex'}")
    if out is not None:
        check_writable(out.parent, "--out")


def _give(
    found: RunTable | RunGrid,
    remarks: Sequence[str],
    to: Literal["text", "latex", "markdown", "csv"],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print a table, or write it to a file."""
    from ...features.csv_text import marked
    from ...features.store.durable import write_atomic

    if to == "csv":
        for remark in remarks:
            note(remark)
    if out is None and to == "text":
        show(found, as_json)
    elif out is None:
        say(printable(found.to_text(to)))
    else:
        text = to_json(found.to_dict()) if as_json else found.to_text(to)
        write_atomic(out, f"{marked(text) if to == 'csv' else text}\n".encode(errors="backslashreplace"))
        say(f"written: {out}")
