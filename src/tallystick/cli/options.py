"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Json", "Source"]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
Source = Annotated[str, typer.Argument(metavar="BUNDLE|OUT", help="A bundle, or a run's folder.")]
