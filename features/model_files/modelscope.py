"""Finds the files of a model of ModelScope, on this machine or on its hub."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..installation import install_line

PREFIX = "modelscope:"
HOSTS = (".modelscope.cn", ".modelscope.ai")


def fetch_modelscope(repo: str, patterns: Sequence[str], ignored: Sequence[str], *, local_files_only: bool) -> Path:
    """The folder of a repository in ModelScope's cache, with files of its newest version, downloaded if allowed.

    A pattern's `*` also stands for subfolders. The user's token is sent to ModelScope itself, and to no other host
    that MODELSCOPE_ENDPOINT names. Raises ValueError.
    """
    name = f"{PREFIX}{repo}"
    if importlib.util.find_spec("modelscope") is None:
        raise ValueError(f"encoder {name!r} needs modelscope, which is missing: `{install_line('modelscope')}`")
    from modelscope import snapshot_download
    from modelscope_hub.config import get_default_config
    from modelscope_hub.errors import HubError

    logging.getLogger("modelscope_hub").setLevel(logging.ERROR)  # it reports each download and each retry
    endpoint = str(get_default_config().endpoint)
    try:
        folder = snapshot_download(
            repo,
            allow_patterns=list(patterns),
            ignore_patterns=list(ignored),
            local_files_only=local_files_only,
            token=None if is_modelscope(endpoint) else "",  # None: the user's, if any
        )
    except (HubError, OSError, ValueError) as error:
        if local_files_only:
            raise ValueError(f"{name!r} is not in ModelScope's cache; run once without --local-files-only") from error
        raise ValueError(
            f"{name!r} was not downloaded from {endpoint}; check the name and the connection, or, where it was "
            "downloaded before, add --local-files-only"
        ) from error
    return Path(folder)


def is_modelscope(endpoint: str) -> bool:
    """Whether an address is one of ModelScope's own."""
    return f".{urlsplit(endpoint).hostname or ''}".endswith(HOSTS)
