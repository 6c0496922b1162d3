"""Every section of a report, in its order. A new one is a function of the runs, and an entry in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from ..inspection.inspected_run import inspect_single
from ..inspection.post_cards import post_lists
from ..inspection.posts import TestPosts
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import SWEEP_METRICS, class_cells, mean_sd, metric_cells, metric_title
from ..runs.results import STARS, p_text
from ..runs.stored_run import StoredRun
from .ablation_bars import ablation_charts, post_shapley_charts, row_name
from .attention_section import attention_section
from .confusion_matrix import class_charts, confusion_charts
from .epochs import batch_charts, epoch_charts
from .facts import cost_table
from .pivot import pivot_runs
from .ranking import calibration_charts, ranking_charts
from .section import Maker, Section, Shown, Table, translated
from .share_curves import share_charts
from .sweep_section import sweep_section
from .systems import difference_charts, difference_table, system_charts, systems
from .words import Words


def make_sections(runs: Sequence[StoredRun], words: Words, shown: Shown | None = None) -> list[Section]:
    """All sections for which these runs hold data, in the order of the page."""
    sections = (make(runs, words, shown or Shown()) for make in SECTIONS)
    return [section for section in sections if section.charts or section.tables or section.posts]


def systems_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """Heads beside their baselines, and paired tests; of several runs, their differences and the pivot."""
    evaluated = [run for run in runs if run.evaluation]
    found = systems(runs)
    tables = [translated("systems", "Main metrics", metric_cells(found), words)] if found else []
    charts = system_charts(runs, words)
    if len(evaluated) == 1 and evaluated[0].evaluation and evaluated[0].evaluation.tests:
        cells = evaluated[0].evaluation.test_cells()
        tests = translated("tests", "Paired tests on the same test rows", cells, words)
        tables.append(replace(tests, caption=f"{tests.caption} ({STARS})"))
    if len(evaluated) > 1:
        tables.append(difference_table(evaluated, words))
        charts += difference_charts(evaluated, words)
        for chart, table in pivot_runs(evaluated, words, shown):
            charts.append(chart)
            tables.append(table)
    notes = [run.evaluation.one_class_text for run in evaluated if run.evaluation and run.evaluation.one_class]
    several = words("Heads") if len(runs) > 1 else words("Winner and baselines")
    return Section(several if len(evaluated) != 1 else words("Head and baselines"), charts, tables, notes)


def training_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """Loss and metric over epochs."""
    return Section(words("Training"), epoch_charts(runs, words, ("loss", shown.metric)))


def classes_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """Confusion matrix, and precision, recall and F1 of each class."""
    found = [run.evaluation for run in runs if run.evaluation]
    tables = (
        [translated("classes", "Scores by class", class_cells(found[0].per_class), words)] if len(found) == 1 else []
    )
    return Section(words("Classes"), [*confusion_charts(runs, words), *class_charts(runs, words)], tables)


def probabilities_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """ROC and precision-recall curves, and calibration."""
    return Section(words("Probabilities"), [*ranking_charts(runs, words), *calibration_charts(runs, words)])


def ablation_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """Differences from the full head, Shapley values, and the table of each ablation."""
    found = [run for run in runs if run.ablation]
    tables = [
        _ablation_table(run, f"-{number}" if len(found) > 1 else "", words) for number, run in enumerate(found, 1)
    ]
    return Section(words("Ablation"), ablation_charts(runs, words), tables)


def curves_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """Missing modalities and learning curves."""
    return Section(words("Missing modalities and learning curves"), share_charts(runs, words))


def posts_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """The test posts of a single run; where their texts and pictures are not there, the command that shows them."""
    found = inspect_single(runs, shown.corpus)
    if found is None:
        return Section(words("Posts"), [])
    command = f"msa report {quote(str(found.path))}"
    intro = words("All test posts, with whole texts: {command}").format(command=f"{command} --figures DIR")
    if found.source is None:
        intro = words("Texts and pictures of these posts: {command}").format(command=f"{command} --posts POSTS")
    tables = [_disagreements(found.posts, words)] if len(found.posts.disagreeing) else []
    if found.posts.alone is None:
        intro += " " + words("The head reads one modality, or an earlier version wrote the run: none are compared.")
    return Section(
        words("Posts"), post_shapley_charts(found.posts, words), tables, intro=intro, posts=post_lists(found, words)
    )


def optimization_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """The loss of every batch, and the learning rate."""
    return Section(words("Optimization"), [*batch_charts(runs, words), *epoch_charts(runs, words, ("lr",))])


def cost_section(runs: Sequence[StoredRun], words: Words, shown: Shown) -> Section:
    """What extraction cost once, and each head since."""
    return Section(words("Cost"), [], cost_table(runs, words))


def _ablation_table(run: StoredRun, end: str, words: Words) -> Table:
    assert run.ablation
    several = len({row.fusion for row in run.ablation.rows}) > 1
    rows = [
        [
            row_name(row, words, several=several),
            *(mean_sd(row.metrics[name]) for name in SWEEP_METRICS),
            *(f"{row.difference[name]:+.3f}" if row.tests else "–" for name in INTERVAL_METRICS),
            p_text(row.tests.mcnemar) if row.tests else "–",
        ]
        for row in run.ablation.rows
    ]
    differences = [f"Δ {words(metric_title(name))}" for name in INTERVAL_METRICS]
    header = [words("inputs"), *(words(metric_title(one)) for one in SWEEP_METRICS), *differences, "McNemar p"]
    return Table(f"ablation{end}", words("Ablation") + (f": {run.name}" if end else ""), header, rows)


def _disagreements(posts: TestPosts, words: Words) -> Table:
    """Who is right where image and text alone predict different classes."""
    assert posts.alone is not None
    rows = posts.disagreeing
    truth, head = posts.truth[rows], posts.predicted[rows] == posts.truth[rows]
    image, text = (posts.alone[rows, number].argmax(1) == truth for number in (0, 1))
    kinds = {words("image"): image, words("text"): text, words("neither"): ~(image | text)}
    lines = [
        [name, str(mask.sum()), f"{mask.mean():.1%}", f"{head[mask].mean():.1%}"]
        for name, mask in kinds.items()
        if mask.any()
    ]
    header = [words("right alone"), words("posts"), words("share"), words("head right")]
    caption = words("Who is right where image and text alone predict different classes")
    return Table("disagreements", caption, header, lines)


SECTIONS: tuple[Maker, ...] = (
    systems_section,
    training_section,
    classes_section,
    probabilities_section,
    ablation_section,
    curves_section,
    posts_section,
    attention_section,
    sweep_section,
    optimization_section,
    cost_section,
)
