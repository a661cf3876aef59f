"""``tally task``: write a task file, see what one comes to, and agree on it over a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import print_document, quiet_stdout, say
from tallystick.cli.task_network import FORMAT, approve, close, list_, propose, show
from tallystick.cli.task_terms import tell_terms, terms_facts
from tallystick.errors import ConfigError

__all__ = ["tasks"]

tasks = typer.Typer(
    help="Write a task file, see what one comes to, and agree on it over a network.",
    rich_markup_mode=None,
)


@tasks.command()
def new(
    recipe: Annotated[str, typer.Argument(help="A recipe, such as standard or bflc.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; standard output by default."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a complete, commented task file."""
    from tallystick.lab.task_template import template

    text = template(recipe)
    if out is not None:
        _write(out, text)
    if json:
        written = None if out is None else str(out)
        document = {"format": FORMAT, "ok": True, "recipe": recipe, "file": written, "text": text}
        print_document(document)
    elif out is None:
        for line in text.splitlines():
            say(line)
    else:
        say(f"written: {out}")


@tasks.command()
def check(
    file: Annotated[Path, typer.Argument(help="A task file.")],
    json: Json = False,
) -> None:
    """Print the terms a task file comes to, and their hash."""
    from tallystick.federation.privacy import budget_of
    from tallystick.lab.check_task import load_checked
    from tallystick.ledger.terms import task_id
    from tallystick.provenance.statement import privacy

    with quiet_stdout():
        cast, terms = load_checked(file)
    if json:
        print_document({"format": FORMAT, "ok": True, "file": str(file), **terms_facts(terms)})
        return
    tell_terms(terms)
    limit = budget_of(cast.task)
    if limit is not None:
        say(f"budget   {privacy(*limit)} for each member's data set when this is simulated")
    say(f"hash     {task_id(terms).hex()}")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        msg = f"{path} exists already and is not overwritten"
        raise ConfigError(msg, hint="name another file with --out") from None


for verb in (propose, approve, close, show):
    tasks.command()(verb)
tasks.command("list")(list_)
