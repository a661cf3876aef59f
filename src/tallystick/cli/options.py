"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Authority", "GenesisPin", "Json", "KeyFolder", "NodeUrl", "Proxy", "Source"]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE|OUT|URL",
        help="A bundle, a run's folder, or a node's address, with #NAME if it has several tasks.",
    ),
]
NodeUrl = Annotated[
    str, typer.Argument(metavar="URL", help="A node's address, such as https://node.north.example.")
]
KeyFolder = Annotated[
    Path,
    typer.Option("--key", metavar="DIR", help="The member's folder, as `tally key new` wrote it."),
]
Authority = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="The certificate authority to trust instead."),
]
Proxy = Annotated[
    str | None,
    typer.Option("--proxy", metavar="URL", help="By which proxy; as the environment says."),
]
GenesisPin = Annotated[
    str,
    typer.Option(
        "--genesis",
        metavar="HEX|FILE",
        help="The genesis you trust; by default the one remembered, or else the node's.",
    ),
]
