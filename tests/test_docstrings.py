"""Public docstrings are complete: each says what is done; where it matters also shapes, errors and the paper."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from source_files import ROOT, SOURCES

import msa
from msa.heads.registry import HEADS

Definition = ast.FunctionDef | ast.AsyncFunctionDef
ARRAYS = re.compile(r"\b(NDArray|Tensor|Logits|Labels|Floats|Counts|ArrayLike)\b")
SHAPE = re.compile(r"\([^()\s]*(?:, ?[^()]*)*\)")  # (N,), (B, K), (…)
SHAPED = ("heads/base.py", "heads/block.py", "pipeline/metrics")  # rooms whose functions take and give arrays


class Public(NamedTuple):
    """A public function or method, the class that it is defined in, and its file."""

    path: Path
    owner: ast.ClassDef | None
    node: Definition

    def __str__(self) -> str:
        owner = f"{self.owner.name}." if self.owner else ""
        return f"{self.path.relative_to(ROOT)}: {owner}{self.node.name}"

    @property
    def documentation(self) -> str:
        """Its docstring, and for a method that of its class, which may say it for all of them."""
        own = ast.get_docstring(self.node) or ""
        return f"{own} {ast.get_docstring(self.owner) or ''}" if self.owner else own


@cache
def classes() -> dict[str, ast.ClassDef]:
    """Every class of the project by name."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def methods(node: ast.ClassDef) -> Iterator[Definition]:
    yield from (one for one in node.body if isinstance(one, Definition))


@cache
def contracts() -> frozenset[str]:
    """Names of methods that a Protocol documents for all classes that have them."""
    protocols = [node for node in classes().values() if "Protocol" in map(ast.unparse, node.bases)]
    return frozenset(one.name for node in protocols for one in methods(node) if ast.get_docstring(one))


def inherited(owner: ast.ClassDef, name: str) -> bool:
    """Whether a base class of the project documents a method of this name."""
    bases = [base for one in owner.bases if (base := classes().get(ast.unparse(one)))]
    own = any(one.name == name and ast.get_docstring(one) for base in bases for one in methods(base))
    return own or any(inherited(base, name) for base in bases)


def public() -> Iterator[Public]:
    """All functions, and methods of public classes, whose names begin without an underscore."""
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                yield Public(path, None, node)
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from (Public(path, node, one) for one in methods(node) if not one.name.startswith("_"))


def test_every_public_class_has_a_docstring() -> None:
    found = [name for name, node in classes().items() if not name.startswith("_") and not ast.get_docstring(node)]
    assert found == []


def test_every_public_function_and_method_has_a_docstring_or_that_of_its_contract() -> None:
    for one in public():
        name, owner = one.node.name, one.owner
        assert ast.get_docstring(one.node) or (owner and (name in contracts() or inherited(owner, name))), str(one)


def raised(node: ast.AST) -> Iterator[str]:
    """Names of the errors that a function raises itself, not in functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
            yield ast.unparse(child.exc.func)
        if not isinstance(child, Definition | ast.Lambda):
            yield from raised(child)


def test_functions_that_raise_an_error_of_the_users_tell_so() -> None:
    """The docstrings of commands are their help, and any command may end with such an error."""
    raising = [one for one in public() if "ValueError" in raised(one.node) and "commands" not in one.path.parts]
    assert len(raising) > 100
    assert [str(one) for one in raising if not re.search(r"[Rr]aise|[Rr]efuse|[Ee]rror", one.documentation)] == []


def test_functions_of_arrays_give_their_shapes() -> None:
    shaped = [one for one in public() if str(one).startswith(SHAPED) and ARRAYS.search(signature(one.node))]
    assert len(shaped) > 20
    assert [str(one) for one in shaped if not SHAPE.search(one.documentation)] == []


def signature(node: Definition) -> str:
    """The annotations of a function's parameters and of what it returns."""
    notes = [one.annotation for one in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
    return " ".join(ast.unparse(one) for one in notes if one)


@pytest.mark.parametrize("name", [name for name, info in HEADS.items() if info.paper])
def test_each_head_names_its_paper_and_its_formula(name: str) -> None:
    text = inspect.getdoc(HEADS[name].build) or ""
    author, year = HEADS[name].paper.split()
    assert author in text
    assert year in text


@pytest.mark.parametrize("name", msa.__all__)
def test_the_python_interface_is_explained(name: str) -> None:
    offered = getattr(msa, name)
    text = inspect.getdoc(offered) or ""
    assert len(text.splitlines()) > 1
    if inspect.isfunction(offered):
        assert re.search(r"Raises \w+Error", text)
        assert ">>> " in text
