"""The model's files import only siblings and what transformers needs, so that they can travel with a checkpoint."""

import ast
from pathlib import Path

import pytest

import frailt.model

FILES = sorted(Path(frailt.model.__file__).parent.glob("*.py"))
STANDARD = {"collections", "copy", "dataclasses", "itertools", "re", "typing"}


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import as (leading dots, module)."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_model_imports_nothing_else_of_ours(path):
    for level, module in imports(path):
        assert level < 2
        assert level == 1 or not module.startswith("frailt")


def travelling() -> list[Path]:
    """The model file and every sibling it reaches."""
    reached, todo = set(), ["modeling_frailt"]
    while todo:
        name = todo.pop()
        path = next(path for path in FILES if path.stem == name)
        if path not in reached:
            reached.add(path)
            todo += [module for level, module in imports(path) if level]
    return sorted(reached)


@pytest.mark.parametrize("path", travelling(), ids=lambda path: path.stem)
def test_a_file_that_travels_imports_siblings_and_what_transformers_needs(path):
    outside = {module.split(".")[0] for level, module in imports(path) if not level}
    assert outside <= STANDARD | {"torch", "transformers", "huggingface_hub"}
    assert {"configuration_frailt", "encodings", "layout"} <= {path.stem for path in travelling()}


def test_the_notation_imports_the_standard_library_alone():
    path = next(path for path in FILES if path.stem == "layout")
    assert {module.split(".")[0] for _, module in imports(path)} <= STANDARD
