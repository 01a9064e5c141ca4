"""The layers of the package: imports go one way, and none grows too large."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import REPOSITORY

PACKAGE = REPOSITORY / "pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [module.relative_to(PACKAGE).as_posix() for module in MODULES]

# A layer imports from itself and from those before it. `pipeline` is the face, `__init__.py`.
ORDER = [
    *("kernels", "errors", "settings", "columns", "storage", "csv_text", "engine", "steps"),
    *("outputs", "job", "pipeline", "cli", "__main__"),
]
PRIVATE_DASK = re.compile(r"(dask|distributed)(\.\w+)*\._\w*")
INTERNALS = "engine/internals.py"  # the one module that may import private modules of Dask
BEFORE_DASK = "engine/imports.py"  # it must be done before the other is imported
# What Dask has for itself without an underscore: attributes, functions, base classes.
PRIVATE_NAMES = {
    *("_meta", "_expr", "http_application", "identity", "worker_restrictions", "task_spec"),
    *("partitioning_index", "derived_from", "WorkSpace", "Nanny", "Worker", "diskutils"),
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of all that is imported, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"(pipeline|dask|distributed)(\.\w+)+", node.value)
        ):
            yield node.value  # a name for importlib


def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text("utf-8"))


def layer(module: Path) -> str:
    first = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "pipeline" if first == "__init__" else first


def layer_of_import(name: str) -> str:
    """Return the layer that a name such as `pipeline.steps.read.ID` is of."""
    first = [*name.split("."), ""][1]
    is_layer = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
    return first if first and is_layer else "pipeline"


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_imports_go_one_way(module: Path) -> None:
    here = ORDER.index(layer(module))
    names = [name for name in imported(parsed(module)) if name.split(".")[0] == "pipeline"]
    names = [name for name in names if name != "pipeline.__version__"]  # which imports nothing
    assert [name for name in names if ORDER.index(layer_of_import(name)) > here] == []


def test_every_layer_has_its_place() -> None:
    assert {layer(module) for module in MODULES} <= set(ORDER)


def test_the_top_level_can_be_read_at_a_glance() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 14


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_no_module_is_long(module: Path) -> None:
    assert len(module.read_text("utf-8").splitlines()) < 400


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if module.name == "__init__.py"],
    ids=lambda module: module.parent.name,
)
def test_a_package_says_in_short_what_lives_there(module: Path) -> None:
    text = ast.get_docstring(parsed(module))
    assert text
    if module.parent != PACKAGE:  # the face shows how it is used
        assert len(text.splitlines()) <= 4


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_private_modules_of_dask_are_imported_in_one_place(module: Path) -> None:
    name = module.relative_to(PACKAGE).as_posix()
    tree = parsed(module)
    if name in (INTERNALS, BEFORE_DASK):
        return
    names = [name for name in imported(tree) if name.startswith(("dask", "distributed"))]
    found = [name for name in names if PRIVATE_DASK.match(name)]
    found += [name for name in names if PRIVATE_NAMES & set(name.split("."))]
    used = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    found += [attribute for attribute in used if attribute in PRIVATE_NAMES]
    assert found == [], f"move it to {INTERNALS}, with the reason for it"
