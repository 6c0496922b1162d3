"""The commands `msa cache …`: each parses its options, makes one call, prints what came back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from .console import show
from .options import DATA, Cache, Compute, Json, Offline, Posts, Reading, grouped

app = typer.Typer(help="Look after the cached embeddings.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def ls(cache: Cache = Path("cache"), as_json: Json = False) -> None:
    """List what is cached: rows, tokens, number format, size, bad items of each encoder."""
    from ...features.cache.maintenance import list_cache

    show(list_cache(cache), as_json)


@app.command()
@grouped
def verify(
    reading: Reading,
    compute: Compute,
    data: Annotated[Path | None, Argument(help=DATA)] = None,
    cache: Cache = Path("cache"),
    sample: Annotated[int, Option(min=0, help="Rows of each encoder to encode anew; 0: checksums only.")] = 32,
    seed: Annotated[int, Option(min=0, help="Seed of the draw.")] = 0,
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Compare every part with its checksum and, given the posts, a sample of rows with what their encoder gives now."""
    from ...features.cache.verify import verify_cache

    corpus = None if data is None else reading.corpus(data)
    settings = compute.settings()
    found = verify_cache(cache, corpus, sample=sample, seed=seed, settings=settings, local_files_only=local_files_only)
    show(found, as_json)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def merge(cache: Cache = Path("cache"), as_json: Json = False) -> None:
    """Merge the parts of each encoder into one file, after several machines extracted into one cache."""
    from ...features.cache.maintenance import merge_cache

    show(merge_cache(cache), as_json)


@app.command()
@grouped
def export(
    reading: Reading,
    name: Annotated[str, Argument(help="Encoder, or its folder's name.")],
    to: Annotated[Path, Option(help="Where to: a folder of npy files, FILE.safetensors or FILE.parquet.")],
    data: Annotated[Path | None, Argument(help=DATA)] = None,
    cache: Cache = Path("cache"),
    format: Annotated[
        Literal["auto", "npy", "safetensors", "parquet"], Option(help="Format of an export; auto: what its name says.")
    ] = "auto",
    tokens: Annotated[bool, Option("--tokens/--no-tokens", help="Export tokens too, or pooled vectors alone.")] = True,
    as_json: Json = False,
) -> None:
    """Write an encoder's embeddings for other programs: a row per post of DATA, or without it per content key."""
    from ...features.cache.exporting import export_embeddings

    corpus = None if data is None else reading.corpus(data)
    show(export_embeddings(cache, name, to, corpus, format=format, tokens=tokens), as_json)


@app.command("import")
@grouped
def import_(
    posts: Posts,
    pooled: Annotated[Path, Option(help="Vectors made elsewhere: an .npy of (rows, width).")],
    ids: Annotated[Path, Option(help="Text file: the id of each row's post, one a line.")],
    name: Annotated[str, Option(help="What to call this encoder.")],
    modality: Annotated[Literal["image", "text"], Option(help="What was embedded.")],
    tokens: Annotated[Path | None, Option(help="Tokens of all rows: an .npy of (tokens, width).")] = None,
    offsets: Annotated[Path | None, Option(help="Where each row's tokens begin: an .npy of (rows + 1).")] = None,
    append: Annotated[bool, Option("--append", help="Add rows to what was imported under this name.")] = False,
    cache: Cache = Path("cache"),
    as_json: Json = False,
) -> None:
    """Bring embeddings made elsewhere into the cache, so that heads train on them by their name."""
    from ...features.cache.imported_arrays import read_arrays
    from ...features.cache.importing import import_embeddings

    arrays = read_arrays(pooled, ids, tokens, offsets)
    show(import_embeddings(posts.read(), cache, arrays, name=name, modality=modality, append=append), as_json)


@app.command()
@grouped
def gc(
    reading: Reading,
    data: Annotated[list[Path], Argument(help="Every data set whose embeddings stay.")],
    cache: Cache = Path("cache"),
    yes: Annotated[bool, Option("--yes", help="Do it; without, only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Drop the rows of content that none of these data sets has, and the folders that become empty."""
    from ...features.cache.maintenance import collect_garbage

    show(collect_garbage(cache, [reading.corpus(path) for path in data], yes=yes), as_json)
