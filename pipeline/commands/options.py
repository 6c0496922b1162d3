"""The options that commands share beside those of the settings, each declared once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from ...features.progress import stage
from ...features.setting import setting
from ..config.data_config import CACHE, DEVICE, MEMORY
from ..config.forms import read_pairs
from ..config.presets import Preset
from .declare import generate_options, option_values
from .recipes import apply_preset, apply_recipe, refuse_two_sets

if TYPE_CHECKING:  # torch takes seconds to import, and `--help` must not wait for it
    from ...features.extraction.settings import ExtractSettings
    from ...features.extraction.shard import Shard
    from ...features.posts.samples import Corpus
    from ..runs.stored_run import StoredRun

POSTS = "Folder of posts, a CSV, TSV, JSON or Parquet table, or hf:OWNER/NAME."
Run = Annotated[Path, Argument(help="A run folder, or its name in --runs; of a folder of runs, the newest.")]
Cache = Annotated[Path, Option(help=CACHE)]
RunCache = Annotated[Path | None, Option(help="Cache folder; the run's own, or ./cache, if left out.")]
Runs = Annotated[Path, Option(help="Folder of run folders.")]
Device = Annotated[str, Option(help=DEVICE)]
Memory = Annotated[str, Option(help=MEMORY)]
RunPosts = Annotated[Path | None, Option(help=f"{POSTS} Where the run's own are now, if left out.")]
Language = Annotated[Literal["auto", "en", "zh"], Option(help="Language of the page; auto: by locale.")]
Offline = Annotated[bool, Option("--local-files-only", help="Never ask a hub for weights.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
RecipeName = Annotated[
    str, Option("--recipe", is_eager=True, callback=apply_recipe, help="Options of a published system; `msa recipes`.")
]

PresetName = Annotated[
    Preset | None,
    Option(
        "--preset",
        is_eager=True,
        callback=apply_preset,
        help="A good set of options, from quick to strong; it is printed.",
    ),
]


def apply_replay(ctx: typer.Context, text: str) -> str:
    """Make the settings of a run, or of a sweep's trial, the defaults of the command; flags win.

    Raises ValueError where there is no run, no finished sweep, or no such trial.
    """
    if text and not ctx.resilient_parsing:
        refuse_two_sets(ctx)
        from ..sweeps.replay import read_replay

        found = read_replay(text)
        data = option_values(found.data_config)
        del data["device"], data["memory"]  # this machine's own
        own = data | option_values(found.head) | option_values(found.training) | dict(found.others)
        ctx.default_map = dict(ctx.default_map or {}) | own
    return text


Replay = Annotated[
    str,
    Option(
        "--from",
        is_eager=True,
        callback=apply_replay,
        help="Settings of a run, as runs/gated, or of a sweep's trial, as 'runs/sweep#best'.",
    ),
]


@dataclass(frozen=True)
class ReadingOptions:
    """How posts are read."""

    layout: str = setting("auto", "Data layout by name; auto: detected.")
    label_rule: Literal["paper", "text", "image", "agree"] = setting("paper", "MVSA: how labels are merged.")
    column: tuple[str, ...] = setting((), "Table: NAME=COLUMN, as text=tweet or text=#4; repeatable.")
    images: Path | None = setting(None, "Folder that image paths count from; the table's, or data/, if left out.")
    remote: bool = setting(False, "Fetch images that are links: http, https, s3, gs, hf.")
    keep_images: Path | None = setting(None, "Keep fetched images in this folder, by their content.")
    allow_host: tuple[str, ...] = setting((), "Fetch from this host though its address is private; repeatable.")
    fetch_timeout: float = setting(30.0, "Seconds for each image, all attempts together.", above=0)
    connections: int = setting(16, "Images fetched at once.", minimum=1, maximum=1000)
    limit: int = setting(0, "Only the first N posts.", minimum=0, zero="all")
    rehash: bool = setting(False, "Read every file again, also those unchanged since the last command.")

    def read_from(self, path: Path) -> Corpus:
        """The posts at `path`, read as these options say."""
        from ...features.posts.layouts import ReadOptions, read_corpus
        from ...features.posts.remote.settings import Remote

        stage("reading posts")
        columns = read_pairs("--column", self.column)
        hosts = tuple(host.lower() for host in self.allow_host)
        remote = Remote(self.remote, self.keep_images, hosts, self.fetch_timeout, self.connections)
        options = ReadOptions(self.label_rule, columns, self.images, remote)
        corpus = read_corpus(path, layout=self.layout, options=options)
        return replace(corpus, samples=corpus.samples[: self.limit or None], rehash=self.rehash)


@dataclass(frozen=True)
class InputPosts(ReadingOptions):
    """The posts that a command works on."""

    data: Annotated[Path, Argument(help=POSTS)] = Path()

    @property
    def reading(self) -> dict[str, Any]:
        """How they are read: options by parameter, for JSON. Links are fetched only where that is asked for again."""
        left_out = ("data", "remote", "fetch_timeout", "connections")
        return {name: value for name, value in option_values(self).items() if name not in left_out}

    def read(self) -> Corpus:
        """The posts that the command was given."""
        return self.read_from(self.data)


def read_posts_of(run: StoredRun, posts: Path | None) -> Corpus | None:
    """The posts of a trained head, read with the options that they were read with for training.

    Without `posts`, those that the run names; None where these are gone, or are other posts by now. Raises ValueError
    where `posts` cannot be read.
    """
    from ...features.store.stored_paths import read_path

    others = dict(run.config.get("others", {}))
    if others.get("images") and not Path(others["images"]).is_dir():
        del others["images"]  # of a project that was moved
    known = [one for one in generate_options(ReadingOptions) if one.parameter.name in others]
    options = ReadingOptions(**{one.field: one.form.read(others[one.parameter.name]) for one in known})
    if posts:
        return options.read_from(posts)
    if "posts" not in run.made:  # of an earlier version
        return None
    try:
        corpus = options.read_from(read_path(str(run.made["posts"]), run.path))
    except (OSError, ValueError):
        return None
    return corpus if run.split and run.split.contents.keys() & {one.id for one in corpus.samples} else None


@dataclass(frozen=True)
class Tracking:
    """Where curves, settings and scores are logged while a command trains."""

    log: Literal["none", "tensorboard", "mlflow"] = setting(
        "none", "Log curves, settings and scores live: to RUNS/tensorboard, or to RUNS/mlflow.db."
    )
    log_file: Path | None = setting(None, "Append to this file, with times, what msa notes and each epoch.")

    def start(self, runs: Path, name: str) -> AbstractContextManager[None]:
        """Log what happens inside the context."""
        from ..tracking.tracker import track

        return track(self.log, runs, name, self.log_file)


@dataclass(frozen=True)
class Cluster:
    """Which processes compute."""

    engine: Literal["local", "ray"] = setting("local", "Compute in this process, or on a Ray cluster.")
    ray_address: str = setting("", "Ray cluster; if empty RAY_ADDRESS, else this machine alone.")

    def __post_init__(self) -> None:
        if self.ray_address and self.engine != "ray":
            raise ValueError(f"--ray-address {self.ray_address} is for Ray; add --engine ray")

    @property
    def address(self) -> str | None:
        """Address of the Ray cluster that computes, perhaps empty; None where this process does."""
        return self.ray_address if self.engine == "ray" else None


@dataclass(frozen=True)
class Machines(Cluster):
    """How the rows are split over processes and machines."""

    shard: str = setting("", "A share of the rows, as 2/8, or auto: as torchrun or Slurm set it.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard and self.engine == "ray":
            raise ValueError("--shard is for separate processes; leave it out, --engine ray splits the rows itself")

    def split(self, settings: ExtractSettings) -> tuple[ExtractSettings, Shard | None]:
        """Settings and rows (None: all) of this process; with `auto` it shares its machine. Raises ValueError."""
        from ...features.extraction.shard import read_shard, share_machine

        shard = read_shard(self.shard) if self.shard else None
        return share_machine(settings) if self.shard == "auto" else settings, shard


def named_run(run: Path, runs: Path) -> Path:
    """The path of a run that may be given by its name in the folder of runs. ValueError where there is neither."""
    from ..runs.folders import locate_run

    return locate_run(run, runs)
