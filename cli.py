"""The command line: registers the commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import gc
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option
from typer.core import TyperGroup

from .features.progress import watched
from .pipeline.commands import (
    cache,
    evaluation,
    explanation,
    exporting,
    extraction,
    finetuning,
    heads,
    serving,
    setup,
    sweeps,
    tables,
)
from .pipeline.commands.console import accept_any_character, note, notices
from .pipeline.commands.declare import EMBEDDINGS
from .pipeline.commands.display import Display

ORDER = (
    *("init", "demo", "doctor", "check", "extract", "encoders", "finetune", "cache"),
    *("train-head", "heads", "recipes", "ablate", "sweep", "compare", "evaluate", "learning-curve", "report", "table"),
    *("test", "predict", "explain", "export", "serve"),
)


class Ordered(TyperGroup):
    """Lists the commands in the order in which they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands; those that ORDER lacks come last."""
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    cls=Ordered,
    help="Multimodal sentiment analysis: cache frozen embeddings once, train fusion heads on them in seconds.",
    epilog="Start with [bold]msa demo[/bold], or with [bold]msa init --data POSTS[/bold] on your own posts.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache.app, name="cache", rich_help_panel=EMBEDDINGS)
for module in (setup, extraction, finetuning, heads, sweeps, tables, evaluation, explanation, exporting, serving):
    app.add_typer(module.app)


def print_version(wanted: bool) -> None:
    """Print the version and end, where it is asked for."""
    if wanted:
        from importlib.metadata import version

        from .features.installation import DISTRIBUTION

        print(f"msa {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def configure(
    ctx: typer.Context,
    config: Annotated[Path | None, Option(help="Configuration file; msa.toml of this folder if left out.")] = None,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, Option("--quiet", help="Show no progress and no notices.")] = False,
    version: Annotated[
        bool, Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:
    """Read msa.toml before the command; `main` reads --debug and --quiet."""
    from .pipeline.commands.config_file import apply_config

    apply_config(ctx, config)


ANYWHERE = ("--debug", "--quiet")  # options that may stand anywhere in a command


class Terminated(SystemExit):
    """SIGTERM: as Ctrl-C, it ends the command with what cleans up."""


def terminate(number: int, frame: object) -> None:
    """End the command as SystemExit does, with 128 and the number of the signal."""
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise Terminated(128 + number)


def report_thread(failed: threading.ExceptHookArgs) -> None:
    """Print the error of a thread that nothing waits for in one line, too."""
    if isinstance(failed.exc_value, Exception):
        report(failed.exc_value)


def report(error: Exception) -> int:
    """Print an error in one line; return the exit code."""
    from .features.messages import explain, unexpected

    message = explain(error)
    if message is None:
        note(unexpected(error))
        return 1
    if message:  # empty where the help was shown
        note(message)
    return 2


def main() -> None:
    """Run the command line; every user error is one line and exit code 2."""
    accept_any_character()
    signal.signal(signal.SIGTERM, terminate)
    if "--debug" not in sys.argv:
        threading.excepthook = report_thread
    code = run_command(sys.argv[1:])
    gc.freeze()  # else all objects of torch and others are searched for garbage before the end, for a second
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code: 2 for an error of the user's, 1 for any other, 130 for Ctrl-C.

    `--debug` anywhere lets the traceback through, `--quiet` anywhere shows results and errors alone.
    """
    from .pipeline.runs.made import COMMAND

    debug, quiet = (one in arguments for one in ANYWHERE)
    display = Display(quiet=quiet)
    typed = COMMAND.set(shlex.join(["msa", *arguments]))
    try:
        with notices(quiet=quiet), watched(display), display:
            code = app(args=[a for a in arguments if a not in ANYWHERE], standalone_mode=False, prog_name="msa")
        if code == 130:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        note(f"interrupted; {display.kept()}")
        return 130
    except Terminated as ended:
        note(f"interrupted; {display.kept()}")
        return int(str(ended.code))
    except Exception as error:
        if debug:
            raise
        return report(error)
    finally:
        COMMAND.reset(typed)


if __name__ == "__main__":
    main()
