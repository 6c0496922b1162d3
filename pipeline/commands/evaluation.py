"""The commands that apply and evaluate trained heads: evaluate, learning-curve, report, test, predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from ...features.extraction.settings import ExtractSettings
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from .console import show
from .declare import HEADS, command
from .options import (
    Device,
    InputPosts,
    Json,
    Language,
    Machines,
    Memory,
    Offline,
    Run,
    RunCache,
    RunPosts,
    Runs,
    named_run,
    read_posts_of,
)

app = typer.Typer()


@command(app, panel=HEADS, example="msa evaluate runs/gated posts --missing image")
def evaluate(
    run: Run,
    posts: InputPosts,
    missing: Annotated[
        Literal["none", "image", "text", "both"], Option(help="Hide this modality from 0 to 100 % of the test rows.")
    ] = "none",
    seed: Annotated[int, Option(min=0, help="Random seed of which posts lose it.")] = 0,
    runs: Runs = Path("runs"),
    cache: RunCache = None,
    device: Device = "auto",
    memory: Memory = "",
    as_json: Json = False,
) -> None:
    """Evaluate a stored run again on the test rows of its folds.

    Shows intervals, scores per class, calibration, and how accuracy falls as a modality goes missing.
    """
    from ..evaluation import reevaluate
    from ..figures.report import write_report
    from ..figures.section import Shown

    corpus = posts.read()
    found = reevaluate.evaluate_run(
        named_run(run, runs), corpus, missing=missing, seed=seed, cache=cache, device=device, memory=memory
    )
    where = [write_report([found.run], shown=Shown(corpus=corpus)).to_text()] if found.curve else []
    show(found, as_json, *where)


@command(app, "learning-curve", panel=HEADS, example="msa learning-curve posts --fusion gated --shares 0.1,0.5,1")
def learning_curve(
    posts: InputPosts,
    data_config: DataConfig,
    head: HeadConfig,
    training: TrainConfig,
    shares: Annotated[str, Option(help="Shares of the training rows.")] = "0.1,0.2,0.5,1",
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the run folder; learning-FUSION if empty.")] = "",
    as_json: Json = False,
) -> None:
    """Train a head on growing shares of the training rows."""
    from ..evaluation import curves
    from ..figures.report import write_report

    curve = curves.learning_curve(
        posts.read(),
        data_config,
        head,
        training,
        shares=curves.read_shares(shares),
        runs=runs,
        name=name or None,
    )
    page = write_report([curve.path])
    show(curve, as_json, page.to_text())


@command(app, panel=HEADS, example="msa report runs/gated runs/attention --figures figures")
def report(
    run: Annotated[
        list[Path], Argument(help="Folders of trained heads, sweeps, ablations, curves; or names in --runs.")
    ],
    out: Annotated[
        Path | None, Option(help="HTML file; report.html in the run's folder, of several runs in this one.")
    ] = None,
    figures: Annotated[
        Path | None, Option(help="Folder for figures as PNG, SVG, PDF, CSV; for tables as CSV, Markdown, LaTeX.")
    ] = None,
    markdown: Annotated[
        Path | None, Option(help="File or folder for the skeleton of a written report, with the figures linked.")
    ] = None,
    metric: Annotated[str, Option(help="Metric of the curves over epochs, and of the pivot of runs.")] = "accuracy",
    pivot: Annotated[
        str, Option(help="Two settings A,B whose pairs are compared; if empty, those that matter most.")
    ] = "",
    language: Language = "auto",
    posts: RunPosts = None,
    explore: Annotated[
        Path | None, Option(help="Parquet file of the posts of a single run with vectors, for embedding-atlas.")
    ] = None,
    cache: RunCache = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Draw runs on one HTML page, and as figures for a paper.

    The page needs no other file. Several runs are compared: overlaid curves, and paired tests against the first. Of a
    single run it shows posts: of highest loss, of disagreeing modalities, of doubtful labels, and unequal duplicates.
    """
    from ..figures.report import write_report
    from ..figures.section import read_shown
    from ..runs.stored_run import read_runs

    shown = read_shown(metric, pivot)
    paths = [named_run(one, runs) for one in run]
    trained = [one for one in read_runs(paths) if one.predictions]
    if (posts or explore) and len(trained) != 1:
        raise ValueError(f"--posts and --explore are for one trained head, got {len(trained)}; name one run")
    corpus = read_posts_of(trained[0], posts) if len(trained) == 1 else None
    exploration = None
    if explore:
        from ..inspection.explore import explore_run

        if corpus is None:
            raise ValueError(f"the posts of {trained[0].path} are not where they were; add --posts POSTS")
        exploration = explore_run(trained[0], corpus, explore, cache=cache)
    shown = replace(shown, corpus=corpus)
    found = write_report(paths, out=out, figures=figures, markdown=markdown, language=language, shown=shown)
    show(replace(found, exploration=exploration), as_json)


@command(app, "test", panel=HEADS, example="msa test runs/gated posts")
def score_test(
    run: Run,
    posts: InputPosts,
    runs: Runs = Path("runs"),
    cache: RunCache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a finished run on the locked test set, and count it."""
    from ..evaluation import test_set

    show(test_set.evaluate_test_set(named_run(run, runs), posts.read(), cache=cache, device=device), as_json)


@command(app, panel=HEADS, example='msa predict runs --image photo.jpg --text "so happy"')
def predict(
    run: Run,
    posts: InputPosts,
    compute: ExtractSettings,
    machines: Machines,
    image: Annotated[Path | None, Option(help="One post: its image file.")] = None,
    text: Annotated[str | None, Option(help="One post: its text.")] = None,
    rows: Annotated[
        Literal["auto", "unlabelled", "all"], Option(help="Posts to predict; auto: the unlabelled, if any.")
    ] = "auto",
    runs: Runs = Path("runs"),
    name: Annotated[
        str, Option(help="Folder in the run folder for the files, in one of its own for each data set.")
    ] = "predictions",
    out: Annotated[
        Path | None,
        Option(
            help="FILE.csv, .jsonl or .parquet, written in blocks that a kill spares; or a folder, instead of --name."
        ),
    ] = None,
    block_posts: Annotated[
        int,
        Option(min=0, help="--out FILE: posts predicted and written together; 0: 16,384, of heads on tokens 2,048."),
    ] = 0,
    no_cache: Annotated[
        bool, Option("--no-cache", help="With --out FILE: forget the embeddings of each block.")
    ] = False,
    cache: RunCache = None,
    raw: Annotated[bool, Option("--raw", help="Probabilities as the heads give them, not calibrated.")] = False,
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Predict the labels of posts with a trained run.

    The posts are those of a data set, or one post given by --image and --text.
    """
    from .. import predict
    from ..runs.destination import check_name, check_writable
    from ..runs.folders import find_run
    from ..scoring import formats, score

    run = named_run(run, runs)
    to_file = out is not None and out.suffix in formats.FORMATS
    if not to_file and (machines != Machines() or no_cache or block_posts):
        raise ValueError("--shard, --engine, --block-posts and --no-cache are for a file; add --out scores.csv")
    if image is not None or text is not None:
        if out is not None or rows != "auto":
            raise ValueError("--out and --rows are for a data set; leave them out when one post is given")
        post = predict.predict_post(
            run, image=image, text=text, cache=cache, settings=compute, local_files_only=local_files_only, raw=raw
        )
        show(post, as_json)
        return
    if out is not None and to_file:
        check_writable(out, "--out")
        settings, shard = machines.split(compute)
        scored = score.score_corpus(
            run,
            posts.read(),
            out,
            rows=rows,
            shard=shard,
            ray=machines.address,
            block_posts=block_posts,
            cache=cache,
            keep_features=not no_cache,
            settings=settings,
            local_files_only=local_files_only,
            raw=raw,
        )
        show(scored, as_json)
        return
    check_name(name)
    parent = find_run(run) / name
    check_writable(out or parent, "--out")
    corpus = posts.read()
    predictions = predict.predict_corpus(
        run, corpus, rows=rows, cache=cache, settings=compute, local_files_only=local_files_only, raw=raw
    )
    folder = out or predict.folder_of(predictions, parent)
    show(predict.write_predictions(predictions, folder, course=corpus.layout == "course"), as_json)
