"""The package imports, says what each module is for, and exports what it lists."""

from __future__ import annotations

import ast
import importlib
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tallystick.errors import RejectedError
from tallystick.mechanisms import reasons

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
MODULES = sorted((SOURCE / "tallystick").rglob("*.py"))
RECIPES = sorted((SOURCE / "tallystick/recipes").rglob("*.toml"))
DOCS = runpy.run_path(str(ROOT / "scripts/make_docs.py"))
WITHOUT_EXTRA = DOCS["import_package"]()
REJECTIONS = DOCS["rejections"]()
# Whose codes are whose; other modules of the ledger use 1xx, 2xx or 5xx.
RANGES = {
    "tallystick.mechanisms": range(300, 400),
    "tallystick.ledger.contracts.tasks": range(400, 600),  # the contract that runs rounds
    "tallystick.ledger.contracts": range(400, 500),
    "tallystick.ledger.collect": range(500, 600),
}
IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [known for known in sys.modules if known.partition(".")[0] == "tallystick"]:
        del sys.modules[known]
    importlib.import_module("tallystick." + name)
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def clashes(kinds: list[type[RejectedError]]) -> list[str]:
    """Name pairs with one code; only a family's base may lend its round number to a subclass."""
    return [
        f"{one.__name__} and {other.__name__}: {one.code}"
        for index, one in enumerate(kinds)
        for other in kinds[index + 1 :]
        if one.code == other.code
        and not (one.code % 100 == 0 and (issubclass(other, one) or issubclass(one, other)))
    ]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    assert docstring


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in map(module_name, MODULES)
        if not name.endswith("__main__") and not name.startswith(tuple(WITHOUT_EXTRA) or ("-",))
    ],
)
def test_every_exported_name_resolves_once(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])

    assert [name for name in exported if not hasattr(module, name)] == []
    assert len(set(exported)) == len(exported)


def test_a_fresh_interpreter_imports_each_layer_alone():
    layers = [p.parent.name if p.stem == "__init__" else p.stem for p in top_level()]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *layers], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def top_level() -> list[Path]:
    package = SOURCE / "tallystick"
    found = [*package.glob("*/__init__.py"), *package.glob("[a-z]*.py")]
    return sorted(p for p in found if module_name(p) not in WITHOUT_EXTRA)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_toml_that_names_itself(path):
    recipe = tomllib.loads(path.read_text(encoding="utf-8"))

    assert recipe["recipe"].partition("/")[0].replace("-", "_") == path.stem.replace("-", "_")


def test_no_two_rejections_share_a_code():
    assert clashes(REJECTIONS) == []


def test_a_planted_second_use_of_a_code_is_found():
    first = type("FirstError", (RejectedError,), {"code": 101, "__module__": "planted"})
    second = type("SecondError", (RejectedError,), {"code": 101, "__module__": "planted"})

    assert clashes([first, second]) == ["FirstError and SecondError: 101"]


def test_no_rejection_uses_the_number_of_a_reason():
    shared = {kind.__name__ for kind in REJECTIONS if kind.code in reasons.NAMES}

    assert shared == set()


@pytest.mark.parametrize("kind", REJECTIONS, ids=lambda kind: kind.__name__)
def test_a_rejection_has_its_own_code_from_its_packages_range(kind):
    expected = next(
        (codes for package, codes in RANGES.items() if kind.__module__.startswith(package)),
        range(100, 600),
    )

    assert kind.code in expected
    assert "code" in vars(kind) or kind.__subclasses__()
    assert kind.__doc__


def test_reasons_have_distinct_names_in_the_mechanisms_range():
    assert len(set(reasons.NAMES.values())) == len(reasons.NAMES)
    assert all(300 <= code < 400 for code in reasons.NAMES)


def test_the_page_of_codes_is_up_to_date():
    written = (ROOT / "docs/codes.md").read_text(encoding="utf-8")

    assert written == DOCS["codes_page"](), "run `make docs`"
