"""What a sweep can be made of: recipes, attacks, tables, partitions, a line each."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from tallystick.federation.recipes import recipe_names, recipe_text
from tallystick.lab.attacks.registry import NONE, all_attacks
from tallystick.lab.datasets import BUNDLED, load_table

if TYPE_CHECKING:
    from tallystick.lab.attacks.attack import Attack

__all__ = ["catalogue", "known_by_author"]

# From "Its author knows …" to the end of that sentence.
AUTHOR = re.compile(r"\b(Its authors? .*?[^.]\.)(?=\s|$)")
PARTITIONS = (
    ("iid", "shuffled and cut into equal parts"),
    ("dirichlet:A", "of each class, shares drawn at concentration A: 0.5 is usual, less is harder"),
)


def catalogue() -> dict[str, list[dict[str, str]]]:
    """Return everything that can be named, by kind.

    Raises
    ------
    MissingExtraError
        scikit-learn, which brings the tables, is not installed.
    """
    return {
        "recipes": [
            {"name": name, "says": recipe_text(name).partition("\n")[0].lstrip("# ")}
            for name in recipe_names()
        ],
        "attacks": [
            {"name": NONE, "strength": "", "says": "Nobody attacks.", "author": ""},
            *(
                {
                    "name": name,
                    "strength": _strength(kind),
                    "says": _first_sentence(kind),
                    "author": known_by_author(kind),
                }
                for name, kind in all_attacks().items()
            ),
        ],
        "data": [{"name": name, "says": _table(name)} for name in BUNDLED],
        "partitions": [{"name": name, "says": says} for name, says in PARTITIONS],
    }


def known_by_author(kind: type[Attack]) -> str:
    """Return the sentence in which an attack's description says what its author knows."""
    found = AUTHOR.search(_text(kind))
    return "" if found is None else found[1]


def _strength(kind: type[Attack]) -> str:
    return "" if kind.default_strength is None else f"{kind.default_strength:g}"


def _first_sentence(kind: type[Attack]) -> str:
    return _text(kind).partition(". ")[0].rstrip(".") + "."


def _text(kind: type[Attack]) -> str:
    """Return a description on one line, without its sections."""
    plain = re.split(r"\n[A-Z][a-z]+\n-{3,}\n", inspect.cleandoc(kind.__doc__ or ""))[0]
    return " ".join(plain.split()).replace("``", "`")


def _table(name: str) -> str:
    table = load_table(name)
    kind = "a quantity" if table.classes is None else f"{len(table.classes)} classes"
    return f"{len(table)} rows, {table.x.shape[1]} columns, {kind}"
