"""``tally explain``: why, in sentences that name their evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.options import Authority, GenesisPin, Json, Proxy, Source
from tallystick.cli.output import print_document, say
from tallystick.cli.source import reach_of, read_leaves

__all__ = ["explain"]


def explain(  # noqa: PLR0917 - one argument per documented flag
    source: Source,
    update: Annotated[
        str | None, typer.Option(metavar="ROOT", help="What became of this update, and why.")
    ] = None,
    member: Annotated[
        str | None, typer.Option(metavar="NAME", help="What this member did.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="ROOT", help="Who and what is in this model.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page that needs nothing else.")
    ] = None,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Say why an update was refused, what a member did, or what is in a model."""
    from tallystick.provenance.anchors import parse_root
    from tallystick.provenance.explain import explain as ask
    from tallystick.provenance.history import read_history
    from tallystick.provenance.page import to_html

    found = ask(
        read_history(read_leaves(*reach_of(source, ca, proxy, genesis))),
        update=None if update is None else parse_root(update),
        member=member,
        model=None if model is None else parse_root(model),
    )
    if html is not None:
        html.write_text(to_html(found), encoding="utf-8")
    if json:
        document = found.to_json()
        print_document({**document, "html": None if html is None else str(html)})
        return
    for line in found.lines:
        say(line)
    if html is not None:
        say(f"written: {html}")
