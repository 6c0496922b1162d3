"""Every module has a test: one of its name in the mirrored folder, one that imports it, or that of what uses it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from source_files import ROOT, SOURCES

TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
NAMES = {path.stem for path in TESTS}
MODULES = [path.relative_to(ROOT).as_posix() for path in SOURCES if path.name != "__init__.py"]

# Modules that no test imports, since what they do is seen where they are used: the tests that see it.
THROUGH: dict[str, str] = {
    "features/posts/collector.py": "test_folder_rows",
    "features/posts/post_folder.py": "test_folder",
    "features/posts/table_files.py": "test_published",
    "features/posts/remote/http.py": "test_fetch",
    "features/posts/remote/storage.py": "test_fetch",
    "heads/attention.py": "test_contract",
    "heads/bilinear.py": "test_contract",
    "heads/cma.py": "test_contract",
    "heads/coattention.py": "test_contract",
    "heads/concat.py": "test_contract",
    "heads/gated.py": "test_contract",
    "heads/late.py": "test_contract",
    "heads/mult.py": "test_contract",
    "heads/ote.py": "test_contract",
    "heads/single.py": "test_contract",
    "heads/threeway.py": "test_contract",
    "heads/transformer.py": "test_contract",
    "heads/weighted.py": "test_contract",
    "heads/estimators/in_context.py": "test_estimator_heads",
    "heads/estimators/networks.py": "test_estimator_heads",
    "pipeline/api.py": "test_python",
    "pipeline/commands/cache.py": "test_maintenance",
    "pipeline/commands/evaluation.py": "test_cli",
    "pipeline/commands/explanation.py": "test_explain_posts",
    "pipeline/commands/exporting.py": "test_export",
    "pipeline/commands/extraction.py": "test_cli",
    "pipeline/commands/heads.py": "test_cli_heads",
    "pipeline/commands/listing.py": "test_cli",
    "pipeline/commands/serving.py": "test_server",
    "pipeline/commands/setup.py": "test_cli",
    "pipeline/commands/sweeps.py": "test_cli_heads",
    "pipeline/commands/tables.py": "test_table_command",
    "pipeline/data/fold_encoders.py": "test_fold_scores",
    "pipeline/data/joining.py": "test_mapped_features",
    "pipeline/data/lacking.py": "test_cached_features",
    "pipeline/data/missing.py": "test_prepare",
    "pipeline/evaluation/table_rows.py": "test_run_table",
    "pipeline/explanation/attention.py": "test_explain",
    "pipeline/explanation/positions.py": "test_explain",
    "pipeline/explanation/recorded.py": "test_explain",
    "pipeline/explanation/summary.py": "test_explain_posts",
    "pipeline/exporting/card.py": "test_export",
    "pipeline/figures/sweep_section.py": "test_sweep_charts",
    "pipeline/fused/separate_training.py": "test_sweep",
    "pipeline/inspection/exploration.py": "test_explore",
    "pipeline/runs/run_encoders.py": "test_predict",
    "pipeline/scoring/formats.py": "test_score",
    "pipeline/serving/answers.py": "test_app",
    "pipeline/serving/explained.py": "test_app",
    "pipeline/serving/metrics.py": "test_app",
    "pipeline/serving/page.py": "test_app",
    "pipeline/sweeps/ensemble_training.py": "test_ensemble",
    "pipeline/tracking/log_file.py": "test_tracker",
    "pipeline/tracking/mlflow.py": "test_tracker",
    "pipeline/tracking/tensorboard.py": "test_tracker",
    "pipeline/training/fold_heads.py": "test_reevaluate",
}


@cache
def imported() -> dict[str, set[str]]:
    """Modules by name, and the tests that import them."""
    found = defaultdict(set)
    for path in [*TESTS, *(ROOT / "tests" / "shared").glob("*.py")]:
        for name in names(path):
            found[name].add(path.stem)
    return found


def names(path: Path) -> Iterator[str]:
    """What a test imports: each module, and each name in one, which may be a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_tested(module: str) -> bool:
    """Whether a test has the module's name in the mirrored folder, or imports it."""
    path = Path(module)
    mirror = ROOT / "tests" / path.parent / f"test_{path.name}"
    return mirror.exists() or ".".join(["msa", *path.with_suffix("").parts]) in imported()


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_tested_or_it_is_known_where(module: str) -> None:
    if is_tested(module):
        assert module not in THROUGH, "it has a test of its own: take it from the list"
    else:
        assert module in THROUGH, "write tests/.../test_NAME.py for it"


def test_the_list_names_modules_and_tests_that_exist() -> None:
    assert THROUGH.keys() <= {*MODULES}
    assert set(THROUGH.values()) <= NAMES
