"""msa: frozen encoders run once into an HDF5 cache; light fusion heads trained on it in seconds.

From Python: `extract` and `load_features` are stage one and its cache, `FusionClassifier` on a `FeatureTable` is
stage two in scikit-learn's way.
"""

TYPE_CHECKING = False  # as type checkers know it, without the import of typing
if TYPE_CHECKING:
    from .pipeline.api import Features as Features
    from .pipeline.api import extract as extract
    from .pipeline.api import load_features as load_features
    from .pipeline.estimators.estimator import FusionClassifier as FusionClassifier
    from .pipeline.estimators.feature_table import FeatureTable as FeatureTable

_PLACES = {
    "FeatureTable": "estimators.feature_table",
    "Features": "api",
    "FusionClassifier": "estimators.estimator",
    "extract": "api",
    "load_features": "api",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, now: torch takes seconds, and `msa --help` must not wait for it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".pipeline.{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
