"""JSON and TOML files: notes of a cache and files of a run, with a format version, and what other programs write."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..regular_files import regular
from .durable import replacing

FORMAT = 1  # of these files and of fitted vectors; parts have their own
Kind = type | tuple[type, ...]
KINDS: dict[type, str] = {
    **{dict: "an object", list: "a list", str: "a string", type(None): "null"},
    **{int: "a whole number", float: "a number", bool: "true or false"},
}
LONGEST = 200  # characters of a reason, which may quote the file
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def check_format(found: object, wanted: object) -> None:
    """Raise ValueError unless a file has the format version that this msa reads."""
    if found != wanted:
        later = isinstance(found, int) and isinstance(wanted, int) and found > wanted
        update = ": update msa to read it" if later else ""
        raise ValueError(f"format {found!r}, but this msa reads format {wanted!r}{update}")


def dump_json(fields: Mapping[str, Any]) -> str:
    """These fields and the version of the format as JSON, the same text for the same fields."""
    return json.dumps({"format": FORMAT, **fields}, sort_keys=True, ensure_ascii=False)


def load_json(text: str) -> dict[str, Any]:
    """The fields of an object; one without a version has the first. Raises ValueError, for another format too."""
    fields = parse_object(text)
    check_format(fields.pop("format", 1), FORMAT)
    return fields


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError for any other text."""
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    check_kind("the file", fields, dict)
    return dict(fields)


def check_kind(name: str, value: object, kind: Kind) -> None:
    """Raise ValueError unless a value is of this kind; a whole number is a number, and true or false is none."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds and not (float in kinds and type(value) is int):
        wanted = " or ".join(KINDS[one] for one in kinds)
        raise ValueError(f"{name} must be {wanted}; got {KINDS.get(type(value), type(value).__name__)}")


def read_json(path: Path, what: str, remedy: str, **kinds: Kind) -> dict[str, Any]:
    """The fields of a file, some of which it must have, each of a kind, as `keys=dict`.

    Raises ValueError where it differs: one line with `what` the file should be and a `remedy`.
    """
    with malformed(path, what, remedy):
        fields = load_json(regular(path).read_text("utf-8"))
        _check_kinds(fields, kinds)
    return fields


def read_object(path: Path, what: str, remedy: str, **kinds: Kind) -> dict[str, Any]:
    """The same for a file of another program, which has no format version."""
    with malformed(path, what, remedy):
        fields = parse_object(regular(path).read_text("utf-8"))
        _check_kinds(fields, kinds)
    return fields


def _check_kinds(fields: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    for name, kind in kinds.items():
        if name not in fields:
            raise ValueError(f"{name!r} is missing")
        check_kind(repr(name), fields[name], kind)


def read_toml(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The content of a TOML file. Raises ValueError as `read_json` does."""
    with malformed(path, what, remedy):
        return tomllib.loads(regular(path).read_text("utf-8-sig"))


@contextmanager
def malformed(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Inside, a missing file, and whatever the shape of one makes go wrong, is a ValueError in one line."""
    try:
        yield
    except ABSENT as error:
        raise ValueError(f"{path}: not {what} ({error.strerror}); {remedy}") from error
    except MemoryError as error:
        raise ValueError(f"{path}: not {what} (there is not enough memory to read it); {remedy}") from error
    except MALFORMED as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        reason = f"{error} is missing" if isinstance(error, KeyError) else reason
        reason = "it is nested too deep" if isinstance(error, RecursionError) else reason
        raise ValueError(f"{path}: not {what} ({' '.join(reason.split())[:LONGEST]}); {remedy}") from error


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a file, unless it holds these fields already: a read-only cache must not be written to."""
    encoder = json.JSONEncoder(indent=2, ensure_ascii=False)
    whole = {"format": FORMAT, **fields}
    if path.exists():
        with suppress(OSError, *MALFORMED):
            if load_json(regular(path).read_text("utf-8")) == load_json(encoder.encode(whole)):
                return
    with replacing(path) as file:  # piece by piece: as one text, the folds of a million posts take 700 MB
        file.writelines(piece.encode() for piece in encoder.iterencode(whole))
        file.write(b"\n")
