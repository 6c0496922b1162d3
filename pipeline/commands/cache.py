"""The commands that look after the cached embeddings: msa cache ls, verify, merge, export, import, gc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from ...features.extraction.settings import ExtractSettings
from .console import show
from .declare import command
from .options import POSTS, Cache, InputPosts, Json, Offline, ReadingOptions

app = typer.Typer(help="List, check, move and clean the cached embeddings.", no_args_is_help=True)


@command(app, example="msa cache ls")
def ls(cache: Cache = Path("cache"), as_json: Json = False) -> None:
    """List the cached encoders: rows, tokens, format, size.

    Bad items are counted, too. Damaged files are named and left out; the exit code is then 1.
    """
    from ...features.cache import maintenance

    found = maintenance.list_cache(cache)
    show(found, as_json)
    if found.facts:
        raise typer.Exit(1)


@command(app, example="msa cache verify posts --sample 100")
def verify(
    reading: ReadingOptions,
    compute: ExtractSettings,
    data: Annotated[Path | None, Argument(help=POSTS)] = None,
    cache: Cache = Path("cache"),
    sample: Annotated[int, Option(min=0, help="Rows of each encoder to encode again; 0: checksums only.")] = 32,
    seed: Annotated[int, Option(min=0, help="Random seed of the sample.")] = 0,
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Compare the cache with its checksums and its encoders.

    Given the posts, a sample of rows is encoded again and compared with what is stored.
    """
    from ...features.cache import verify

    corpus = None if data is None else reading.read_from(data)
    found = verify.verify_cache(
        cache, corpus, sample=sample, seed=seed, settings=compute, local_files_only=local_files_only
    )
    show(found, as_json)
    if not found.ok:
        raise typer.Exit(1)


@command(app, example="msa cache merge")
def merge(cache: Cache = Path("cache"), as_json: Json = False) -> None:
    """Merge the parts of each encoder into one file.

    Do so after several machines extracted into one cache.
    """
    from ...features.cache import maintenance

    show(maintenance.merge_cache(cache), as_json)


@command(app, example="msa cache export minilm posts --to minilm.safetensors")
def export(
    reading: ReadingOptions,
    name: Annotated[str, Argument(help="Encoder, or its folder's name.")],
    to: Annotated[Path, Option(help="Where to: a folder of npy files, FILE.safetensors or FILE.parquet.")],
    data: Annotated[Path | None, Argument(help=POSTS)] = None,
    cache: Cache = Path("cache"),
    format: Annotated[
        Literal["auto", "npy", "safetensors", "parquet"], Option(help="File format; auto: by the name of --to.")
    ] = "auto",
    tokens: Annotated[bool, Option("--tokens/--no-tokens", help="Export tokens too, or pooled vectors alone.")] = True,
    as_json: Json = False,
) -> None:
    """Write an encoder's embeddings for other programs.

    One row per post of DATA; without it, one per content key.
    """
    from ...features.cache import exporting

    corpus = None if data is None else reading.read_from(data)
    show(exporting.export_embeddings(cache, name, to, corpus, format=format, tokens=tokens), as_json)


@command(
    app,
    "import",
    example="msa cache import posts --pooled clip.npy --ids ids.txt --name clip --modality image",
    without=("limit",),
)
def import_(
    posts: InputPosts,
    pooled: Annotated[Path, Option(help="Vectors made elsewhere: an .npy of (rows, width).")],
    ids: Annotated[Path, Option(help="Text file: the id of each row's post, one a line.")],
    name: Annotated[str, Option(help="Name of the encoder.")],
    modality: Annotated[Literal["image", "text"], Option(help="Modality that was embedded.")],
    tokens: Annotated[Path | None, Option(help="Tokens of all rows: an .npy of (tokens, width).")] = None,
    offsets: Annotated[Path | None, Option(help="Where each row's tokens begin: an .npy of (rows + 1).")] = None,
    append: Annotated[bool, Option("--append", help="Add rows to what was imported under this name.")] = False,
    cache: Cache = Path("cache"),
    as_json: Json = False,
) -> None:
    """Import embeddings that were made elsewhere.

    Heads then train on them under the name that is given.
    """
    from ...features.cache import imported_arrays, importing

    arrays = imported_arrays.read_arrays(pooled, ids, tokens, offsets)
    found = importing.import_embeddings(posts.read(), cache, arrays, name=name, modality=modality, append=append)
    show(found, as_json)


@command(app, example="msa cache gc posts more-posts --yes", without=("limit",))  # the posts after N would be removed
def gc(
    reading: ReadingOptions,
    data: Annotated[list[Path], Argument(help="Every data set whose embeddings stay.")],
    cache: Cache = Path("cache"),
    yes: Annotated[bool, Option("--yes", help="Remove them; without, only list what would be removed.")] = False,
    force: Annotated[bool, Option("--force", help="Also where posts cannot be read: their rows are removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove the embeddings that none of these data sets uses.

    Folders that become empty are removed, too.
    """
    from ...features.cache import maintenance

    corpora = [reading.read_from(path) for path in data]
    show(maintenance.collect_garbage(cache, corpora, yes=yes, force=force), as_json)
