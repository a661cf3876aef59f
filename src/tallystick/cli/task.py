"""``tally task``: write a task file, and see what one comes to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import plain, print_document, quiet_stdout, say
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from tallystick.federation.privacy import Promise
    from tallystick.ledger.terms import Stage, Terms

__all__ = ["tasks"]

tasks = typer.Typer(help="Write a task file, or see what one comes to.", rich_markup_mode=None)
FORMAT = "tally.task/1"


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
    from tallystick.federation.privacy import budget_of, promises
    from tallystick.lab.check_task import load_checked
    from tallystick.ledger.terms import task_id
    from tallystick.provenance.statement import privacy

    with quiet_stdout():
        cast, terms = load_checked(file)
    found = task_id(terms).hex()
    if json:
        document = {"format": FORMAT, "ok": True, "file": str(file), "hash": found}
        spent = [asdict(promise) for promise in promises(terms)]
        print_document({**document, "name": terms.name, "terms": plain(terms), "privacy": spent})
        return
    _tell(terms)
    for promise in promises(terms):
        say(f"privacy  {_promise(promise)}")
    limit = budget_of(cast.task)
    if limit is not None:
        say(f"budget   {privacy(*limit)} for each member's data set when this is simulated")
    say(f"hash     {found}")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        msg = f"{path} exists already and is not overwritten"
        raise ConfigError(msg, hint="name another file with --out") from None


def _tell(terms: Terms) -> None:
    say(f"name     {terms.name}")
    say(f"recipe   {terms.recipe}, {terms.mode}, {terms.rounds} rounds, keep {terms.keep}")
    say(f"score    {terms.score}; weights {terms.weights[0]}")
    for roster in terms.rosters:
        say(f"roster   {roster.name}: {', '.join(roster.members)}")
    if terms.model is not None:
        size = sum(parameter.size for parameter in terms.model.parameters)
        say(f"model    {size} parameters in {len(terms.model.parameters)} tensors")
    if terms.train:
        settings = ", ".join(f"{each.name} = {_setting(each)}" for each in terms.train)
        say(f"train    {settings}")
    for phase, stages in (("setup", terms.setup), ("round", terms.round), ("close", terms.close)):
        for stage in stages:
            say(f"{phase:<8} {_stage(stage)}")


def _promise(promise: Promise) -> str:
    from tallystick.provenance.statement import privacy

    facts = [f"{name} = {value}" for name, value in promise.parameters.items()]
    spent = privacy(promise.epsilon_nanos, promise.delta_picos)
    return f"{promise.stage}: {promise.charges} charges come to {spent}; {', '.join(facts)}"


def _setting(setting: Any) -> str:  # noqa: ANN401 - one of the terms' settings
    return str(float.fromhex(setting.text)) if setting.kind == "float" else setting.text


def _stage(stage: Stage) -> str:
    windows = [
        f"{name} {length / 1000:g}s"
        for name, length in (
            ("within", stage.within),
            ("reveal", stage.reveal),
            ("hold", stage.hold),
        )
        if length
    ]
    facts = [f"{name} = {value}" for name, value in stage.parameters if name != "table"]
    asked = [f"asks {stage.who}"] if stage.who else []
    sealed = ["sealed"] if stage.sealed else []
    return f"{stage.name}: {', '.join([stage.rule, *asked, *sealed, *windows, *facts])}"
