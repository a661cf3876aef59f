"""No float, file or per-process value decides anything on the ledger."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

from tallystick.mechanisms.registry import all_rules
from tallystick.mechanisms.rule import Place

ROOT = Path(__file__).parents[2]
LEDGER = [
    *sorted((ROOT / "src/tallystick/ledger").rglob("*.py")),
    ROOT / "src/tallystick/mechanisms/theory/rdp.py",  # contracts add and compare with it
]
EXACT = [
    rule
    for rule in all_rules()
    if rule.place is not Place.ATTESTED and rule.__module__.startswith("tallystick.")
]
EXACT_MATH = {"comb", "factorial", "gcd", "isqrt", "lcm", "perm", "prod"}
FLOATING_NAMES = {"complex", "float", "float16", "float32", "float64", "true_divide"}
# `hash` and `id` differ between processes; the others touch the outside.
BANNED_CALLS = {"breakpoint", "hash", "id", "input", "open", "print"}


def faults(source: str) -> list[str]:
    """Name what in ``source`` could differ between two honest nodes, with its line."""
    found = [
        (node.lineno, says)
        for node in ast.walk(ast.parse(textwrap.dedent(source)))
        if (says := fault_of(node)) and isinstance(node, ast.expr | ast.stmt)
    ]
    return [f"line {line}: {says}" for line, says in sorted(found)]


def fault_of(node: ast.AST) -> str:
    says = ""
    match node:
        case ast.Constant(value=float() | complex()):
            says = f"literal {node.value}"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            says = "true division"
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in FLOATING_NAMES:
            says = name
        case ast.Attribute(value=ast.Name(id="math"), attr=name) if name not in EXACT_MATH:
            says = f"math.{name}"
        case ast.ImportFrom(module="math") if {a.name for a in node.names} - EXACT_MATH:
            says = "inexact import from math"
        case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
            says = f"{name}()"
        case _:
            pass
    return says


def reached(start: FunctionType, owner: type) -> list[FunctionType]:
    """Return ``start`` and every function of this package it names, directly or not."""
    found: list[FunctionType] = []
    todo = [start]
    while todo:
        function = todo.pop()
        if function in found:
            continue
        found.append(function)
        names = names_in(function.__code__)
        for name in names:
            value = function.__globals__.get(name)
            members = vars(value) if is_ours(value) and isinstance(value, ModuleType) else {}
            candidates = [value, inspect.getattr_static(owner, name, None)]
            candidates += [members[other] for other in names if other in members]
            todo += [ours for candidate in candidates if (ours := our_function(candidate))]
    return found


def names_in(code: CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(names_in, inner))


def is_ours(value: object) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return (name or "").partition(".")[0] in {"tallystick", __name__.partition(".")[0]}


def our_function(value: object) -> FunctionType | None:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) and is_ours(value) else None


@pytest.mark.parametrize("path", LEDGER, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_ledger_holds_no_float(path):
    found = faults(path.read_text(encoding="utf-8"))

    assert found == []


@pytest.mark.parametrize("rule", EXACT, ids=lambda rule: rule.id)
def test_a_fold_outside_attested_stages_uses_no_float(rule):
    found = {
        f"{function.__module__}.{function.__qualname__}: {fault}"
        for function in reached(our_function(rule.fold), rule)
        for fault in faults(inspect.getsource(function))
    }

    assert found == set()


@pytest.mark.parametrize(
    "planted",
    [
        "x = 0.5",
        "x = 3 / 4",
        "x /= 2",
        "x = float(3)",
        "def f(x: float) -> int: ...",
        "x = rows.astype(np.float64)",
        "x = math.sqrt(2)",
        "from math import log",
        "x = hash('a')",
        "x = open('a')",
    ],
)
def test_a_planted_fault_is_found(planted):
    assert len(faults(planted)) == 1


@pytest.mark.parametrize("harmless", ["x = 3 // 4", "x = math.isqrt(2)", "x = a.hash(b)", "x = 5"])
def test_integer_arithmetic_passes(harmless):
    assert faults(harmless) == []


def halve(value):
    return value * 0.5


class Planted:
    def fold(self, records, inputs):
        return [self.share(record) for record in records]

    def share(self, record):
        return halve(record)


def test_a_float_behind_two_calls_is_reached():
    names = [function.__name__ for function in reached(Planted.fold, Planted)]

    assert names == ["fold", "share", "halve"]
