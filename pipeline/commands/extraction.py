"""The commands that read posts and embed them: check, extract, encoders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from ...features.extraction.settings import ExtractSettings
from ...features.spec import Clean, LongText
from ..config.data_config import CachedEncoders
from ..config.head_config import MOST_VIEWS
from .console import note, show
from .declare import EMBEDDINGS, command
from .options import Cache, InputPosts, Json, Machines, Offline, PresetName, RecipeName

if TYPE_CHECKING:
    from ...features.posts.samples import Corpus

app = typer.Typer()


@command(app, panel=EMBEDDINGS, example="msa check posts")
def check(
    posts: InputPosts,
    cache: Cache = Path("cache"),
    every: Annotated[bool, Option("--all", help="Print every problem, or the first ten of each kind.")] = False,
    as_table: Annotated[
        Path | None, Option(help="Write the posts as one table, too: FILE.csv, FILE.jsonl or FILE.parquet.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the posts; report labels, gaps and duplicates."""
    from ...features.posts import check

    corpus = posts.read()
    if as_table is not None:
        _write_table(corpus, as_table)
    show(check.check_corpus(corpus, cache), as_json, every=every)


def _write_table(corpus: Corpus, file: Path) -> None:
    """Write the posts as a table, and say how it is read as the same posts. Raises ValueError where it would not be."""
    from ...features.posts.export.table import PostTable
    from ...features.store.durable import replacing
    from ..runs.destination import check_writable

    check_writable(file.parent, "--as-table")
    table = PostTable.of(corpus, file)
    with replacing(file) as opened:
        lost = table.write(opened)
    try:
        table.check()
    except ValueError:
        file.unlink()
        raise
    left_out = f"; {lost} of them without a part that cannot be read" if lost else ""
    note(f"{len(corpus.samples)} posts are written to {file}{left_out}; msa check {file}{table.options} reads them")


@command(app, panel=EMBEDDINGS, example="msa extract posts --image efficientnet_lite0 --text minilm")
def extract(
    posts: InputPosts,
    encoders: CachedEncoders,
    compute: ExtractSettings,
    machines: Machines,
    clean: Annotated[Clean, Option(help="Cleaning of the texts.")] = "none",
    prompt: Annotated[
        str, Option(help="Words before each text, or the name of a prompt of the model; auto: the model's own.")
    ] = "auto",
    long_text: Annotated[
        LongText,
        Option(
            help="Of a text beyond the encoder's limit: truncate drops the end, windows embeds it in several parts."
        ),
    ] = "truncate",
    sentence: Annotated[
        list[str], Option(help="A sentence that an encoder NAME@prompts compares each post with; repeatable.")
    ] = [],  # noqa: B006 (typer copies it)
    weights: Annotated[list[str], Option(help="Local weights: FILE, or ENCODER=FILE; repeatable.")] = [],  # noqa: B006 (typer copies it)
    local_files_only: Offline = False,
    max_length: Annotated[int, Option(min=0, help="Word pieces kept; 0: the encoder's own limit.")] = 0,
    layers: Annotated[str, Option(help="Layers, -1 the last, as -1,-4; each is cached as an encoder.")] = "-1",
    pool: Annotated[str, Option(help="Poolings, as mean,max; auto: each encoder's own.")] = "auto",
    dtype: Annotated[Literal["auto", "float16", "float32"], Option(help="Format of tokens; auto: float16.")] = "auto",
    tokens: Annotated[bool, Option("--tokens/--no-tokens", help="Cache tokens, or pooled vectors alone.")] = True,
    views: Annotated[
        int, Option(min=0, max=MOST_VIEWS, help="Augmented views of each image beside the plain one; 0: none.")
    ] = 0,
    max_bad: Annotated[float, Option(min=0, max=1, help="Share of bad items beyond which to exit with 1.")] = 0.01,
    preset: PresetName = None,
    recipe: RecipeName = "",
    dry_run: Annotated[
        bool, Option("--dry-run", help="Time a few batches, report what it will take, write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Embed the posts with frozen encoders, once.

    Run it again, and only what is new is encoded.
    """
    from ...features.encoders.encoder import EncoderOptions
    from ...features.encoders.sources import EncoderRequest
    from ...features.encoders.variants import read_layers, read_pools
    from ...features.extraction import dry_run as dry
    from ...features.extraction import extract

    options = EncoderOptions(
        local_files_only=local_files_only,
        dtype="float32" if dtype == "float32" else "float16",
        clean=clean,
        long_text=long_text,
        sentences=tuple(dict.fromkeys(sentence)),
        prompt=None if prompt == "auto" else prompt,
        max_length=max_length or None,
        layers=read_layers(layers),
        pools=read_pools(pool),
    )
    request = EncoderRequest(encoders.image, encoders.text, options, tuple(weights), views)
    settings, shard = machines.split(replace(compute, tokens=tokens))
    if dry_run:
        show(dry.estimate(posts.read(), request, encoders.cache, settings, shard=shard), as_json)
        return
    extraction = extract.extract(posts.read(), request, encoders.cache, settings, shard=shard, ray=machines.address)
    show(extraction, as_json)
    if extraction.bad_share > max_bad:
        note(f"{extraction.bad_share:.1%} of the items are bad, more than --max-bad {max_bad:.1%}")
        raise typer.Exit(1)
    if extraction.empty:
        note(f"every item of {', '.join(extraction.empty)} is missing or empty; `msa check` shows what was read")
        raise typer.Exit(1)


@command(app, panel=EMBEDDINGS, example="msa encoders")
def encoders(as_json: Json = False) -> None:
    """List the encoders: width, source of weights, if installed."""
    from . import listing

    show(listing.list_encoders(), as_json)
