"""Where a run is written: checked before anything is trained, filled beside its final name, then renamed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...features.store.durable import existing, new_folder, remove_stale_temporaries


def check_name(name: str) -> None:
    """Raise ValueError unless this can be the name of a folder in another one."""
    if not name.strip() or Path(name).name != name or name.startswith("."):
        raise ValueError(f"--name wants a plain file name, as gated-2; got {name!r}")


def free_name(folder: Path, name: str) -> Path:
    """Make and return `folder/name`, with -2, -3 … appended where that is taken: no run replaces another."""
    check_name(name)
    number, path = 1, folder / name
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
            path = folder / f"{name}-{number}"


def check_destination(runs: Path, name: str) -> None:
    """Raise ValueError unless a run of this name can be written to `runs`; delete what killed runs left there.

    A name that is taken is no error: the run is then NAME-2.
    """
    check_name(name)
    check_writable(runs, "--runs")
    remove_stale_temporaries(runs)


def check_writable(folder: Path, option: str) -> None:
    """Raise ValueError, which names the option, unless files can be written to a folder, perhaps still to be made."""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)):
            return
    except OSError as error:
        raise ValueError(f"{option} {folder}: cannot be written ({error.strerror}); give another folder") from error


@contextmanager
def new_run(runs: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """The path of a new run (see `free_name`), and a temporary folder that becomes it where the block succeeds."""
    path = free_name(runs, name)
    with free_after_error(path), new_folder(path) as temp:
        yield path, temp


@contextmanager
def free_after_error(path: Path) -> Iterator[None]:
    """Remove the empty folder that `free_name` made where the block does not succeed."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty: another process wrote it
            path.rmdir()
        raise
