"""The commands: each parses its options, makes one call, prints what came back."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from .pipeline.commands.cache import app as cache_app
from .pipeline.commands.console import say, show
from .pipeline.commands.evaluation import app as evaluation_app
from .pipeline.commands.finetuning import app as finetune_app
from .pipeline.commands.heads import app as head_app
from .pipeline.commands.options import Compute, DryRun, Encoders, Json, Machines, Offline, Posts, RecipeName, grouped
from .pipeline.commands.sweeps import app as sweep_app

ORDER = (
    ("init", "demo", "check", "extract", "cache", "encoders", "finetune"),
    ("train-head", "heads", "recipes", "evaluate", "learning-curve", "ablate", "sweep", "test", "predict"),
    ("doctor",),
)


class Ordered(TyperGroup):
    """Lists the commands in the order in which they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, those of ORDER first."""
        first = [name for part in ORDER for name in part if name in self.commands]
        return [*first, *(name for name in self.commands if name not in first)]


app = typer.Typer(
    cls=Ordered,
    help="Multimodal sentiment analysis: cache frozen embeddings once, train fusion heads on them in seconds.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(cache_app, name="cache")
app.add_typer(finetune_app)
app.add_typer(head_app)
app.add_typer(evaluation_app)
app.add_typer(sweep_app)

DEMO = (
    "msa check",
    "msa extract",
    "msa train-head --fusion attention",
    "msa ablate --modality image --fusion gated",
    "msa predict runs",
)


@app.callback()
def configure(
    ctx: typer.Context,
    config: Annotated[Path | None, Option(help="Configuration file; msa.toml here is read by itself.")] = None,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    from .pipeline.commands.config_file import apply_config

    apply_config(ctx, config)


@app.command()
@grouped
def check(posts: Posts, as_json: Json = False) -> None:
    """Read the posts and say what was found: labels, missing parts, problems, duplicates."""
    from .features.posts.check import check_corpus

    show(check_corpus(posts.read()), as_json)


@app.command()
@grouped
def extract(
    posts: Posts,
    encoders: Encoders,
    compute: Compute,
    machines: Machines,
    clean: Annotated[Literal["none", "social", "strict"], Option(help="Cleaning of the texts.")] = "none",
    weights: Annotated[list[str], Option(help="Local weights: FILE, or ENCODER=FILE; repeatable.")] = [],  # noqa: B006 (typer copies it)
    local_files_only: Offline = False,
    max_length: Annotated[int, Option(min=0, help="Word pieces kept; 0: the encoder's own limit.")] = 0,
    layers: Annotated[str, Option(help="Layers, -1 the last, as -1,-4; each is cached as an encoder.")] = "-1",
    pool: Annotated[str, Option(help="Poolings, as mean,max; auto: each encoder's own.")] = "auto",
    dtype: Annotated[Literal["auto", "float16", "float32"], Option(help="Format of tokens; auto: float16.")] = "auto",
    tokens: Annotated[bool, Option("--tokens/--no-tokens", help="Cache tokens, or pooled vectors alone.")] = True,
    views: Annotated[int, Option(min=0, help="Augmented views of each image beside the plain one; 0: none.")] = 0,
    limit: Annotated[int, Option(min=0, help="Only the first posts; 0: all.")] = 0,
    max_bad: Annotated[float, Option(min=0, max=1, help="Share of bad items beyond which to exit with 1.")] = 0.01,
    recipe: RecipeName = "",  # its options have become the defaults
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run the frozen encoders once and cache their embeddings; run again, and only what is new is encoded."""
    from .features.encoders.encoder import EncoderOptions
    from .features.encoders.sources import EncoderRequest
    from .features.encoders.variants import read_layers, read_pools
    from .features.extraction.extract import extract_corpus
    from .pipeline.commands.console import progress

    corpus = posts.read(limit=limit)
    options = EncoderOptions(
        local_files_only=local_files_only,
        dtype="float32" if dtype == "float32" else "float16",
        clean=clean,
        max_length=max_length or None,
        layers=read_layers(layers),
        pools=read_pools(pool),
    )
    request = EncoderRequest(tuple(encoders.image), tuple(encoders.text), options, tuple(weights), views)
    settings = machines.settings(compute.settings(tokens=tokens))
    if dry_run:
        from .features.extraction.dry_run import estimate

        show(estimate(corpus, request, encoders.cache, settings, shard=machines.place()), as_json)
        return
    with progress("items") as tick:
        extraction = extract_corpus(
            corpus,
            request,
            encoders.cache,
            settings,
            shard=machines.place(),
            ray=machines.cluster,
            progress=tick,
        )
    show(extraction, as_json)
    if extraction.bad_share > max_bad:
        say(f"{extraction.bad_share:.1%} of the items are bad, more than --max-bad {max_bad:.1%}")
        raise typer.Exit(1)


@app.command()
@grouped
def predict(
    run: Annotated[Path, Argument(help="A run folder; of a folder of runs, the newest.")],
    posts: Posts,
    compute: Compute,
    image: Annotated[Path | None, Option(help="One post: its image file.")] = None,
    text: Annotated[str | None, Option(help="One post: its text.")] = None,
    rows: Annotated[Literal["auto", "unlabelled", "all"], Option(help="auto: the unlabelled, if any.")] = "auto",
    out: Annotated[Path | None, Option(help="Folder for the files; in the run's own if left out.")] = None,
    cache: Annotated[Path | None, Option(help="Cache folder; the run's own if left out.")] = None,
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Predict the posts of a data set with a trained run, or one post given by --image and --text."""
    from .pipeline.commands.console import progress
    from .pipeline.predict import predict_corpus, predict_post, write_predictions
    from .pipeline.runs.runs import find_run

    settings = compute.settings()
    if image is not None or text is not None:
        if out is not None or rows != "auto":
            raise ValueError("--out and --rows are for a data set; leave them out when one post is given")
        show(predict_post(run, image=image, text=text, settings=settings, local_files_only=local_files_only), as_json)
        return
    corpus = posts.read()
    with progress("items") as tick:
        predictions = predict_corpus(
            run, corpus, rows=rows, cache=cache, settings=settings, local_files_only=local_files_only, progress=tick
        )
    folder = out or find_run(run) / "predictions"
    show(write_predictions(predictions, folder, course=corpus.layout == "course"), as_json)


@app.command()
def encoders(as_json: Json = False) -> None:
    """List encoders by name: width, where weights come from, whether they are here."""
    from .pipeline.commands.listing import EncoderList

    show(EncoderList.here(), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed and what is missing, with the command that mends it."""
    from .pipeline.commands.doctor import diagnose, to_dict, to_text

    findings = diagnose()
    print(json.dumps(to_dict(findings), ensure_ascii=False) if as_json else to_text(findings))
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


@app.command()
def init(
    ctx: typer.Context,
    data: Annotated[str, Option(help="Folder of posts.")] = ".",
    image: Annotated[str, Option(help="Image encoder.")] = "efficientnet_lite0",
    text: Annotated[str, Option(help="Text encoder.")] = "minilm",
) -> None:
    """Write a commented msa.toml here: defaults for every command."""
    from .pipeline.commands.config_file import FILE, settings_of, write_config

    write_config(Path(FILE), data=data, image=image, text=text, commands=settings_of(ctx))
    print(f"wrote {FILE}; next: msa check")


@app.command()
def demo(ctx: typer.Context, folder: Annotated[Path, Argument(help="Where to write it.")] = Path("demo")) -> None:
    """Write a small drawn corpus and run all four stages on it."""
    from .pipeline.commands.config_file import settings_of
    from .pipeline.demo.demo import write_demo_corpus

    print(write_demo_corpus(folder, commands=settings_of(ctx)))
    with chdir(folder):
        for line in DEMO:
            print(f"\n$ {line}", flush=True)
            if code := run_command(shlex.split(line)[1:]):
                raise typer.Exit(code)
    where = folder.resolve()
    print(f"\nDone. Runs, tables and predictions: {where / 'runs'}; embeddings: {where / 'cache'}")
    print(f"Your turn: cd {folder} && msa train-head --fusion gated")


def main() -> None:
    """Run the command line; every user error is one line and exit code 2."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. `--debug` anywhere lets the traceback through."""
    debug = "--debug" in arguments
    try:
        code = app(args=[a for a in arguments if a != "--debug"], standalone_mode=False, prog_name="msa")
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        say("interrupted; what was written stays, run the command again to go on")
        return 130
    except Exception as error:
        if debug:
            raise
        from .features.messages import explain

        message = explain(error)
        if message is None:
            raise
        print(message if message.startswith("Usage:") else f"msa: {message}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    main()
