"""Files and functions stay small enough to be read aloud."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("src", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")
)
FILE_LINES = 500
FUNCTION_LINES = 60  # without its docstring: documentation is never the thing to cut


def long_functions(source: str) -> list[str]:
    return [
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := length_of(node)) > FUNCTION_LINES
    ]


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    return total - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_its_budget(path):
    source = path.read_text(encoding="utf-8")

    assert len(source.splitlines()) <= FILE_LINES
    assert long_functions(source) == []


def test_a_planted_long_function_is_found():
    source = "def f():\n" + "    x = 1\n" * FUNCTION_LINES

    assert long_functions(source) == [f"f: {FUNCTION_LINES + 1} lines"]


def test_a_docstring_does_not_count():
    source = 'def f():\n    """' + "word\n" * FUNCTION_LINES + '"""\n    return 1\n'

    assert long_functions(source) == []
