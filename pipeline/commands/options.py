"""The options that commands share, each declared once, and how a command takes a group of them as one argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from typer import Argument, Option

from .recipes import apply_recipe

if TYPE_CHECKING:  # torch takes seconds to import, and `--help` must not wait for it
    from ...features.extraction.settings import ExtractSettings
    from ...features.extraction.shard import Shard
    from ...features.posts.samples import Corpus

DATA = "Folder of posts, or a CSV, TSV or JSONL table."
Cache = Annotated[Path, Option(help="Folder of cached embeddings.")]
Runs = Annotated[Path, Option(help="Folder of run folders.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Option(help="Where to compute.")]
Offline = Annotated[bool, Option("--local-files-only", help="Never ask a hub for weights.")]
DryRun = Annotated[bool, Option("--dry-run", help="Time a few batches, say what it will take, write nothing.")]
RecipeName = Annotated[
    str, Option("--recipe", is_eager=True, callback=apply_recipe, help="A published system's options; `msa recipes`.")
]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True)
class Reading:
    """How posts lie."""

    layout: Annotated[str, Option(help="How the posts lie: auto, or a layout's name.")] = "auto"
    label_rule: Annotated[Literal["paper", "text", "image", "agree"], Option(help="MVSA: how labels merge.")] = "paper"
    column: Annotated[list[str], Option(help="Table: NAME=COLUMN, e.g. text=tweet; repeatable.")] = field(
        default_factory=list
    )

    def corpus(self, data: Path, *, limit: int = 0) -> Corpus:
        """Read the posts there; only the first `limit` if that is not 0. Raises ValueError."""
        from dataclasses import replace

        from ...features.posts.layouts import ReadOptions, read_corpus

        columns = pairs("--column", self.column)
        corpus = read_corpus(data, layout=self.layout, options=ReadOptions(self.label_rule, columns))
        return replace(corpus, samples=corpus.samples[:limit]) if limit else corpus


@dataclass(frozen=True)
class Posts(Reading):
    """Which posts, and how they lie."""

    data: Annotated[Path, Argument(help=DATA)] = Path()

    def read(self, *, limit: int = 0) -> Corpus:
        """Read them; only the first `limit` if that is not 0. Raises ValueError."""
        return self.corpus(self.data, limit=limit)


@dataclass(frozen=True)
class Encoders:
    """Which encoders, and where their embeddings are kept."""

    image: Annotated[list[str], Option(help="Image encoder, or none; repeatable.")] = field(
        default_factory=lambda: ["efficientnet_lite0"]
    )
    text: Annotated[list[str], Option(help="Text encoder, or none; repeatable.")] = field(
        default_factory=lambda: ["minilm"]
    )
    cache: Cache = Path("cache")


@dataclass(frozen=True)
class Compute:
    """How encoders run; none of it changes the numbers."""

    device: Device = "auto"
    runtime: Annotated[
        Literal["auto", "torch", "openvino"], Option(help="What runs the encoders; auto: OpenVINO on a CPU, if here.")
    ] = "auto"
    batch_images: Annotated[int, Option(min=0, help="Images per forward pass; 0: what suits the device.")] = 0
    batch_tokens: Annotated[int, Option(min=0, help="Word pieces per forward pass; 0: what suits the device.")] = 0
    workers: Annotated[int, Option(min=0, help="Decoding threads; 0: one per core.")] = 0
    compile: Annotated[bool, Option("--compile", help="Compile the model by torch.compile first.")] = False

    def settings(self, *, tokens: bool = True) -> ExtractSettings:
        """The same as settings of an extraction. Raises ValueError."""
        from ...features.extraction.settings import ExtractSettings

        return ExtractSettings(
            device=self.device,
            runtime=self.runtime,
            compile=self.compile,
            batch_images=self.batch_images,
            batch_tokens=self.batch_tokens,
            workers=self.workers,
            tokens=tokens,
        )


@dataclass(frozen=True)
class Cluster:
    """Who computes."""

    engine: Annotated[Literal["local", "ray"], Option(help="Who computes: this process, or a Ray cluster.")] = "local"
    ray_address: Annotated[str, Option(help="Ray cluster; if empty RAY_ADDRESS, else this machine alone.")] = ""

    def __post_init__(self) -> None:
        if self.ray_address and self.engine != "ray":
            raise ValueError(f"--ray-address {self.ray_address} is for Ray; add --engine ray")

    @property
    def cluster(self) -> str | None:
        """Address of the Ray cluster that computes, perhaps empty; None where this process does."""
        return self.ray_address if self.engine == "ray" else None


@dataclass(frozen=True)
class Machines(Cluster):
    """How the work is shared out beyond one process."""

    shard: Annotated[str, Option(help="A share of the rows, as 2/8, or auto: as torchrun or Slurm placed us.")] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard and self.engine == "ray":
            raise ValueError("--shard is for processes of their own; leave it out, --engine ray shares out the rows")

    def place(self) -> Shard | None:
        """The share of the rows that this process takes; None for all. Raises ValueError."""
        from ...features.extraction.shard import read_shard

        return read_shard(self.shard) if self.shard else None

    def settings(self, settings: ExtractSettings) -> ExtractSettings:
        """The settings of a process that shares its machine with others, where `auto` says so."""
        from ...features.extraction.shard import share_machine

        return share_machine(settings) if self.shard == "auto" else settings


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take option groups: a parameter that is one of the dataclasses above becomes its options."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint):
            groups[parameter.name] = hint
            inner = get_type_hints(hint, include_extras=True)
            for option in fields(hint):
                default = option.default if option.default_factory is MISSING else option.default_factory()
                parameters.append(_keyword(option.name, default, inner[option.name]))
        else:
            parameters.append(_keyword(parameter.name, parameter.default, hint))

    @wraps(command)
    def call(**values: Any) -> None:
        built = {
            name: group(**{option.name: values.pop(option.name) for option in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **built)

    del call.__wrapped__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def pairs(flag: str, given: list[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as a dict; ValueError for one without `=`."""
    for pair in given:
        if "=" not in pair:
            raise ValueError(f"{flag} wants NAME=VALUE; got {pair!r}")
    return dict(pair.split("=", 1) for pair in given)
