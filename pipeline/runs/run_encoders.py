"""The encoders of a stored run, opened again for other posts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...features.encoders.encoder import Source
from ...features.extraction.ray_worker import ReopenRequest
from ...features.extraction.settings import ExtractSettings
from .runs import Run


def check_imported(run: Run, cache: Path) -> None:
    """Raise ValueError where a cache lacks features of the run that no encoder can extract."""
    for spec in run.encoders:
        if spec.source == "import" and not (cache / spec.slug).is_dir():
            wanted = f"{spec.slug}, which was imported and cannot be extracted"
            raise ValueError(f"{cache} has no features of {wanted}; give the cache that has them, as --cache FOLDER")


def run_sources(run: Run, cache: Path, local_files_only: bool) -> list[Source]:
    """The encoders of a run, each as the run's own cache, or this one, knows it."""
    return run_request(run, cache, local_files_only).open()


def run_request(run: Run, cache: Path, local_files_only: bool) -> ReopenRequest:
    """The same as a request, which a worker of another machine can open."""
    known = [next((one for one in (run.cache, cache) if (one / s.slug).is_dir()), cache) for s in run.encoders]
    paths = tuple(path.absolute() for path in known)
    return ReopenRequest(tuple(run.encoders), paths, cache.absolute(), Path.cwd(), local_files_only)


def compute_of(run: Run, settings: ExtractSettings) -> ExtractSettings:
    """How the features of a run are extracted: with tokens where its heads read them."""
    return replace(settings, tokens=run.config.tokens)
