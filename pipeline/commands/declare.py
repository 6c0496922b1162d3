"""How a command is declared: the settings of dataclasses become its options, each in a panel of the help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer import Option
from typer.models import OptionInfo

from ...features.progress import begin
from ...features.setting import Setting
from ..config.forms import Form, form_of, option_flags

SETUP, EMBEDDINGS, HEADS = "Setup", "Posts and embeddings", "Fusion heads"  # panels of commands in `msa --help`
FIRST = (  # the options that matter first, in the panel without a name
    *("image", "text", "fusion", "modality", "setting", "trials", "missing", "shares", "folds", "ensemble", "epochs"),
    *("lr", "seed", "limit", "runs", "name", "as_json"),
)
PANELS = {
    "Posts": ("posts", "layout", "label_rule", "column", "images", "clean", "rows", "rehash"),
    "Links": ("remote", "keep_images", "allow_host", "fetch_timeout", "connections"),
    "Encoders": (
        *("cache", "weights", "local_files_only", "long_text", "max_length", "layers", "pool", "dtype", "tokens"),
        "views",
    ),
    "Head": ("preset", "recipe", "replay"),
    "Training": ("checkpoint_every", "unlabelled"),
    "Folds and evaluation": ("how", "part", "seeds", "fold", "outer"),
    "Search": ("space",),
    "Compute": ("device", "memory", "dry_run"),
    "Server": ("host", "port", "token"),
    "Output": ("log", "log_file", "out", "to", "format", "figures", "explore", "language", "max_bad", "as_table"),
}
PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
OF_CLASS = {  # panels of the other settings; those of what computes are in Compute
    **{"HeadConfig": "Head", "TrainConfig": "Training", "TuneConfig": "Training", "Search": "Search"},
    **{"DataConfig": "Folds and evaluation"},
}
WIDEST = 18  # characters of choices beside an option's name; more would cut off names at 80 columns


@dataclass(frozen=True)
class Generated:
    """The option of one field: the command's parameter for it, and how its value is read."""

    field: str
    parameter: inspect.Parameter
    form: Form


def command(
    app: typer.Typer, name: str | None = None, *, panel: str | None = None, example: str, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command.

    A parameter that is a dataclass becomes the options of its settings, but for the fields in `without` and those
    that the function declares itself. `example` is the last line of the help.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        call = _with_options(function, without)
        return app.command(name, rich_help_panel=panel, epilog=f"Example: [bold]{example}[/bold]")(call)

    return register


@cache  # several commands take the same dataclass
def generate_options(kind: type) -> list[Generated]:
    """The options of a dataclass, in the order of its fields: those with help, and those that are an Annotated type."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for one in fields(kind):
        hint, known = hints[one.name], one.metadata.get("setting")
        form = form_of(hint)
        default = form.write(one.default_factory() if one.default_factory is not MISSING else one.default)
        if isinstance(known, Setting) and known.help:
            flags = option_flags(one)
            name = flags[0].removeprefix("--").replace("-", "_")
            panel = _panel(name, OF_CLASS.get(kind.__name__, "Compute"))
            help, metavar = _help(known.description, form.type)
            in_range = _range_check(known, form)
            option = Option(*flags, help=help, metavar=metavar, rich_help_panel=panel, callback=in_range)
            found.append(Generated(one.name, _keyword(name, default, Annotated[form.type, option]), form))
        elif get_origin(hint) is Annotated:
            found.append(Generated(one.name, _keyword(one.name, default, hint), form))
    return found


def _range_check(known: Setting, form: Form) -> Callable[[Any], Any]:
    """Refuse a value out of range where it is given, so that an error can name its flag or its line in msa.toml."""

    def check(value: Any) -> Any:
        number = form.read(value) if form.type in (int, float) else None
        if number is not None and not known.holds(number):
            raise typer.BadParameter(known.refusal(number))
        return value

    return check


def option_values(settings: Any) -> dict[str, Any]:
    """What each option of a dataclass would be given to make these settings: parameter name to value."""
    options = generate_options(type(settings))  # type: ignore[arg-type]  # classes are hashable
    return {one.parameter.name: one.form.write(getattr(settings, one.field)) for one in options}


def command_line(settings: Any) -> list[str]:
    """The words of a command line that give these settings: arguments, and options that differ from their default."""
    values = option_values(settings)
    words: list[str] = []
    for one in generate_options(type(settings)):  # type: ignore[arg-type]  # classes are hashable
        value, info = values[one.parameter.name], get_args(one.parameter.annotation)[1]
        flag = next(iter(info.param_decls or ()), f"--{one.parameter.name.replace('_', '-')}")
        if not isinstance(info, OptionInfo):
            words.insert(0, str(value))
        elif value != one.parameter.default:
            given = value if isinstance(value, list) else [value]
            words += [flag] if value is True else [word for item in given for word in (flag, str(item))]
    return words


def _with_options(function: Callable[..., None], without: Collection[str]) -> Callable[..., None]:
    hints = get_type_hints(function, include_extras=True)
    own = {name for name, hint in hints.items() if not is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    groups: dict[str, list[Generated]] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint):
            chosen = [one for one in generate_options(hint) if one.field not in own | {*without}]  # type: ignore[arg-type]
            groups[parameter.name] = chosen
            parameters += [one.parameter for one in chosen]
        else:
            parameters.append(_keyword(parameter.name, parameter.default, _in_panel(parameter.name, hint)))

    def call(**values: Any) -> None:
        begin()
        built = {
            name: hints[name](**{one.field: one.form.read(values.pop(one.parameter.name)) for one in chosen})
            for name, chosen in groups.items()
        }
        function(**values, **built)

    parameters.sort(key=_place)
    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _in_panel(name: str, hint: Any) -> Any:
    """An Annotated option with its panel; any other hint as it is."""
    kind, *infos = get_args(hint) or (hint,)
    if not infos or not isinstance(infos[0], OptionInfo):
        return hint
    option = copy(infos[0])
    option.rich_help_panel = _panel(name, None)
    return Annotated[kind, option]


def _help(text: str, kind: Any) -> tuple[str, str | None]:
    """The help of an option and the word for its value; long lists of choices go into the help."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if len("|".join(choices)) <= WIDEST:
        return text, None
    return f"{text} One of {', '.join(choices)}.", "<choice>"


def _place(parameter: inspect.Parameter) -> tuple[int, int]:
    """The place of a parameter: arguments, then the options that matter first, then panel by panel."""
    info = get_args(parameter.annotation)[1:2]
    if not info or not isinstance(info[0], OptionInfo):
        return 0, 0
    if info[0].rich_help_panel in PANELS:
        return 2 + list(PANELS).index(info[0].rich_help_panel), 0
    return 1, FIRST.index(parameter.name) if parameter.name in FIRST else len(FIRST)


def _panel(name: str, fallback: str | None) -> str | None:
    return None if name in FIRST else PANEL_OF.get(name, fallback)


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
