"""``tally demo``: a recipe's promises, tried on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import Bar, print_document, quiet_stdout, say, table
from tallystick.cli.summary import tell_run
from tallystick.errors import ConfigError
from tallystick.failure import DONE, FALSE

__all__ = ["demo"]

STANDARD = "standard"


Recipe = Annotated[str, typer.Argument(help="A recipe; see --list.")]
Seed = Annotated[int, typer.Option(min=0, help="Of keys, data and training.")]
Members = Annotated[int | None, typer.Option(min=1, help="How many organisations.")]
Rounds = Annotated[int | None, typer.Option(min=1, help="How many rounds.")]
Data = Annotated[
    str | None, typer.Option(metavar="NAME|FILE.csv", help="A bundled table or a CSV file.")
]
Target = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The CSV file's column to predict.")
]
Partition = Annotated[
    str, typer.Option(metavar="iid|dirichlet:A", help="How rows fall to the members.")
]
Attacks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:STRENGTH]=COUNT",
        help="Who attacks how, instead of the demo's own; repeatable, `none=0` for nobody.",
    ),
]
Full = Annotated[
    bool, typer.Option("--full", help="The recipe's whole acceptance list, over many seeds.")
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="How many seeds --full takes; 10 by default.")
]
Network = Annotated[
    bool, typer.Option("--network", help="On four local nodes under CometBFT, in real time.")
]
Listed = Annotated[bool, typer.Option("--list", help="List the demos and exit.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The run's folder; a temporary one by default.")
]


def demo(  # noqa: PLR0917 - one argument per documented flag
    recipe: Recipe = STANDARD,
    seed: Seed = 0,
    members: Members = None,
    rounds: Rounds = None,
    data: Data = None,
    target: Target = None,
    partition: Partition = "iid",
    attack: Attacks = None,
    full: Full = False,
    seeds: Seeds = None,
    network: Network = False,
    listed: Listed = False,
    out: Out = None,
    json: Json = False,
) -> int:
    """Run a recipe as a consortium on this machine and check what the recipe promises."""
    if listed:
        return _list(json=json)
    if seeds is not None and not full:
        msg = "--seeds goes with --full"
        raise ConfigError(msg, hint="use --seed to choose the seed of a single run")
    from tallystick.lab.demos import run_demo
    from tallystick.lab.demos.options import DemoOptions

    with quiet_stdout(), Bar() as bar:
        options = DemoOptions(
            recipe=recipe,
            seed=seed,
            members=members,
            rounds=rounds,
            data=data,
            target=target,
            partition=partition,
            attacks=attack or None,
            full=full,
            network=network,
            seeds=10 if seeds is None else seeds,
            out=out,
            progress=bar,
        )
        result = run_demo(options)
        document = result.to_json()
    if json:
        print_document(document)
    else:
        tell_run(document)
    return DONE if result.ok else FALSE


def _list(*, json: bool) -> int:
    from tallystick.lab.demos import list_demos

    found = {name: demo.says for name, demo in list_demos().items()}
    if json:
        demos = [{"recipe": name, "says": says} for name, says in found.items()]
        print_document({"format": "tally.demo/1", "ok": True, "demos": demos})
        return DONE
    for line in table(found.items()):
        say(line)
    return DONE
