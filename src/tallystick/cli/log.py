"""``tally log``: the records of a task, one a line."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick.cli.options import Authority, GenesisPin, Proxy, Source
from tallystick.cli.output import print_document, say, warn
from tallystick.cli.source import follow_leaves, parties_of, reach_of, read_leaves
from tallystick.errors import ConfigError

__all__ = ["log"]


def log(  # noqa: PLR0917 - one argument per documented flag
    source: Source,
    round_: Annotated[
        int | None, typer.Option("--round", min=0, help="Only this round; setup is round 0.")
    ] = None,
    member: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what this member sent or is named in.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="NAME", help="Only records of this type.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more until the task has ended.")
    ] = False,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """Print a task's records, one a line."""
    from tallystick.provenance.records import list_records, record_line

    where, task = reach_of(source, ca, proxy, genesis)
    leaves = follow_leaves(where, task) if follow else read_leaves(where, task)
    found = False
    for record in list_records(leaves, round_=round_, member=member, kind=kind):
        found = True
        if json:
            print_document(record, compact=True)
        else:
            say(record_line(record))
    if found:
        return
    parties = parties_of(where, task) if member is not None else ()
    if member is not None and member not in parties:
        msg = f"no member of this task is called '{member}'"
        raise ConfigError(msg, hint=f"its members: {', '.join(parties)}")
    warn("no record of this task fits")
