"""msa: frozen encoders run once into an HDF5 cache; light fusion heads trained on it in seconds.

Stage one, the cache
    extract             embed the posts of a folder or table, once
    load_features       cached features as scikit-learn's X, y, groups (Features)

Stage two, heads on the cache
    train_head          train a fusion head over folds, beside baselines; write a run folder
    ablate              measure what each modality, or a part of a head, contributes
    sweep               search settings on inner folds; score the best on other posts
    load_run            a run folder with its results as data frames, and predictions (TrainedRun)
    FusionClassifier    a head as a scikit-learn classifier
    FeatureTable        its X: features of both modalities, sliced together

Posts are a folder, or a CSV, TSV, JSON or Parquet table. Each function does what the command of its name does.
"""

TYPE_CHECKING = False  # as type checkers know it, without the import of typing
if TYPE_CHECKING:
    from .pipeline.api import Features as Features
    from .pipeline.api import extract as extract
    from .pipeline.api import load_features as load_features
    from .pipeline.estimators.estimator import FusionClassifier as FusionClassifier
    from .pipeline.estimators.feature_table import FeatureTable as FeatureTable
    from .pipeline.trained_run import TrainedRun as TrainedRun
    from .pipeline.trained_run import load_run as load_run
    from .pipeline.trainings import ablate as ablate
    from .pipeline.trainings import sweep as sweep
    from .pipeline.trainings import train_head as train_head

    __version__: str

_PLACES = {
    "FeatureTable": "estimators.feature_table",
    "Features": "api",
    "FusionClassifier": "estimators.estimator",
    "TrainedRun": "trained_run",
    "ablate": "trainings",
    "extract": "api",
    "load_features": "api",
    "load_run": "trained_run",
    "sweep": "trainings",
    "train_head": "trainings",
}
__all__ = [
    "FeatureTable",
    "Features",
    "FusionClassifier",
    "TrainedRun",
    "ablate",
    "extract",
    "load_features",
    "load_run",
    "sweep",
    "train_head",
]


def __getattr__(name: str) -> object:
    """Import what is asked for, now: torch takes seconds, and `msa --help` must not wait for it."""
    if name == "__version__":
        from importlib.metadata import version

        from .features.installation import DISTRIBUTION

        return version(DISTRIBUTION)
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".pipeline.{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES, "__version__"])
