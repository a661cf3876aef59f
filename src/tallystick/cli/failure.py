"""How the command line says why it ends: the only place where it turns errors into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.cli.output import complain, print_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.failure import Failure

__all__ = ["report", "wants_json"]


def report(failure: Failure, *, as_json: bool) -> int:
    """Print a failure where its readers look; return the exit status."""
    if as_json:
        print_document(failure.to_json(), compact=True)
    else:
        complain("tally:", "red", failure.sentence)
    return failure.status


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` is among the arguments: a wrong command line is answered so, too."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
