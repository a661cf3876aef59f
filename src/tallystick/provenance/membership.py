"""Is an update in a model? What can be said of that from the log, and what cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.provenance.lineage import descent

if TYPE_CHECKING:
    from tallystick.provenance.facts import TaskHistory
    from tallystick.provenance.lineage import Made

__all__ = ["says_excluded", "says_included"]

OUTSIDE = "near-copies of it and the history of the task's first model are outside this check"


def says_included(history: TaskHistory, root: bytes) -> tuple[bool, str]:
    """Return whether an update went into the task's model, and what to say."""
    line = descent(history)
    if line is None:
        return False, "no unbroken line leads from the task's first model to its last"
    found = _rounds_with(line, root)
    if not found:
        return False, f"update {root.hex()} is in no input list of the model's {len(line)} rounds"
    made = found[0]
    author = next(subject.author for subject in made.inputs if subject.id == root)
    return True, (
        f"update {root.hex()} by {author} went into {made.where} by {made.rule} "
        f"(block {made.at.height}, record {made.at.number})"
    )


def says_excluded(history: TaskHistory, root: bytes) -> tuple[bool, str]:
    """Return whether an update is in no input list on the model's line, and what to say."""
    line = descent(history)
    if line is None:
        return False, "no unbroken line leads from the task's first model to its last"
    found = _rounds_with(line, root)
    if found:
        return False, f"update {root.hex()} went into {found[0].where}"
    for made in line:
        if made.unresolved:
            return False, f"what went into {made.where} cannot be told apart: {made.unresolved}"
    measured = [
        (made, name) for made in line for name, subject in made.measured if subject.id == root
    ]
    bound = ""
    if measured:
        made, name = measured[0]
        bound = f"; its length counted towards the bound '{name}' of {made.where}"
    return True, (
        f"update {root.hex()} is in no input list of the {len(line)} rounds that made the model"
        f"{bound}; {OUTSIDE}"
    )


def _rounds_with(line: tuple[Made, ...], root: bytes) -> list[Made]:
    return [made for made in line if any(subject.id == root for subject in made.inputs)]
