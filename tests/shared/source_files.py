"""The project's own source files, and what each of them imports: for tests of the layout and of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("features", "heads", "pipeline")
SOURCES = sorted([*ROOT.glob("*.py"), *(path for part in PARTS for path in (ROOT / part).rglob("*.py"))])


def relative(paths: list[Path]) -> list[str]:
    """Paths from the root of the project."""
    return [str(path.relative_to(ROOT)) for path in paths]


def imports(path: Path, *, root: Path = ROOT, top_level: bool = False) -> Iterator[str]:
    """Absolute names of what a file imports: `..heads.base` in `pipeline/x.py` is `msa.heads.base`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = ["msa", *path.relative_to(root).parts[:-1]]
    for node in _at_import(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def uses(path: Path, module: str, *, root: Path = ROOT, top_level: bool = False) -> bool:
    """Whether a file imports a module, or something in it."""
    return any(f"{name}.".startswith(f"{module}.") for name in imports(path, root=root, top_level=top_level))


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not in functions, not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)
