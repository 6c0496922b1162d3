"""Run folders are found by path, by name, or as the newest of a folder of runs."""

from __future__ import annotations

from pathlib import Path

from ...features.messages import near_names

CONFIG = "config.json"  # of trained heads
RESULTS = (CONFIG, "ablation.json", "curve.csv", "sweep.json")  # a folder with one of them holds results
SHOWN = 8  # names of runs in a message


def locate_run(run: Path, runs: Path) -> Path:
    """The path of a run that may be given by its name in the folder of runs. ValueError where there is neither."""
    found = next((path for path in (run, runs / run) if path.exists()), None)
    if found is None:
        raise ValueError(f"there is no run {str(run)!r}{_known_runs(run.name, runs)}")
    return found


def find_run(path: Path) -> Path:
    """The run folder itself, or the newest run of a folder of runs. ValueError where there is no run."""
    return find_runs(path)[-1]


def find_runs(path: Path) -> list[Path]:
    """The run folder itself, or all runs of a folder of runs, oldest first. ValueError where there is no run."""
    if (path / CONFIG).is_file():
        return [path]
    found = [file for file in path.glob(f"*/{CONFIG}") if file.is_file() and _is_whole(file.parent)]
    if not found:
        raise ValueError(f"{path} holds no trained heads{_known_runs(path.name, path.parent, CONFIG)}")
    return [file.parent for file in sorted(found, key=lambda file: file.stat().st_mtime_ns)]


def _known_runs(name: str, folder: Path, *files: str) -> str:
    """For the end of a message: the runs in a folder with one of these files that are called alike, or all of them."""
    inside = (file.parent for one in files or RESULTS for file in folder.glob(f"*/{one}"))
    names = sorted({run.name for run in inside if _is_whole(run)})
    if not names:
        return f", and there are none in {folder}/: `msa train-head` writes one, --runs names another folder"
    known = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return near_names(name, names) or f"; runs in {folder}/: {known}"


def _is_whole(run: Path) -> bool:
    """Whether a run is no longer being written."""
    return not run.name.startswith(".")
