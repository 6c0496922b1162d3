"""The commands to begin with: init, demo, doctor."""

from __future__ import annotations

import shlex
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ...features.progress import stage
from ..config.data_config import DataConfig
from .console import print_parts, say, to_json
from .declare import SETUP, command
from .options import Json

app = typer.Typer()
DEMO = (
    "msa check",
    "msa extract",
    "msa train-head --fusion attention",
    "msa ablate --modality image --fusion gated",
    "msa predict runs",
)


@command(app, panel=SETUP, example="msa init --data posts")
def init(
    ctx: typer.Context,
    data: Annotated[str, Option(help="Folder of posts.")] = ".",
    image: Annotated[str, Option(help="Image encoder.")] = DataConfig.image[0],
    text: Annotated[str, Option(help="Text encoder.")] = DataConfig.text[0],
) -> None:
    """Write a commented msa.toml: defaults for every command."""
    from ..config import config_template
    from .config_file import command_options

    file = Path(config_template.FILE)
    config_template.write_config(file, data=data, image=image, text=text, commands=command_options(ctx))
    say(f"wrote {file}; next: msa check")


@command(app, panel=SETUP, example="msa demo demo")
def demo(ctx: typer.Context, folder: Annotated[Path, Argument(help="Where to write it.")] = Path("demo")) -> None:
    """Write a small generated corpus and run every step on it."""
    from ..demo import demo
    from .config_file import command_options

    stage("drawing posts")
    print_parts([str(demo.write_demo_corpus(folder, commands=command_options(ctx)))])
    root = ctx.find_root().command
    with chdir(folder):
        for line in DEMO:
            say(f"\n$ {line}")
            if code := root.main(shlex.split(line)[1:], prog_name="msa", standalone_mode=False):
                raise typer.Exit(code)
    run = folder / "runs" / "attention"
    opened = f"Done. Open {run / 'report.html'}, and the predictions in {run / 'predictions'}."
    after = f"Next: `cd {folder} && msa train-head --fusion gated`, or `msa init --data POSTS` where your own posts are"
    say("")
    print_parts([f"{opened}\n{after}"])


@command(app, panel=SETUP, example="msa doctor")
def doctor(as_json: Json = False) -> None:
    """Check the installation and show how to repair it."""
    from . import doctor

    findings = doctor.diagnose()
    if as_json:
        say(to_json(doctor.to_dict(findings)))
    else:
        print_parts([doctor.to_text(findings)])
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)
