"""``tally bench``: what this machine makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import print_document, quiet_stdout, say, table
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from tallystick.lab.bench.machine import Measure

__all__ = ["bench"]

TAKES = {
    "round": ("recipe", "members", "parameters"),
    "ledger": ("members", "transactions"),
    "aggregate": ("rule", "members", "parameters"),
    "proofs": (),
    "network": ("recipe", "members", "parameters", "transactions", "cut_every", "engine"),
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "round": {"recipe": "chain-fl", "members": 8, "parameters": 1_000_000},
    "ledger": {"members": 8, "transactions": 10_000},
    "aggregate": {"rule": "aggregate/mean/1", "members": 10, "parameters": 10_000_000},
    "proofs": {},
    "network": {
        "recipe": "chain-fl",
        "members": 4,
        "parameters": 1_000_000,
        "transactions": 1000,
        "cut_every": 0,
        "engine": "",
    },
}


def bench(  # noqa: PLR0917 - one argument per documented flag
    what: Annotated[str, typer.Argument(metavar="round|ledger|aggregate|proofs|network")],
    recipe: Annotated[str | None, typer.Option(help="Of the round; chain-fl by default.")] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="ID", help="To aggregate with; aggregate/mean/1.")
    ] = None,
    members: Annotated[
        int | None, typer.Option(min=1, help="8; of an aggregate 10, of a network 4.")
    ] = None,
    parameters: Annotated[
        int | None, typer.Option(min=1, help="Of the model: 1 million; of an aggregate 10.")
    ] = None,
    transactions: Annotated[
        int | None, typer.Option(min=1, help="10,000; of a network 1,000.")
    ] = None,
    cut_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="BYTES", help="Cut a network's connections now and then."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="solo|cometbft", help="Of a network; cometbft where CometBFT is installed."
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    against: Annotated[
        str | None, typer.Option(metavar="flower", help="A peer to compare with (later).")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a round, the ledger, aggregation, proofs or a network, and say on which machine."""
    given = {
        "recipe": recipe,
        "rule": rule,
        "members": members,
        "parameters": parameters,
        "transactions": transactions,
        "cut_every": cut_every,
        "engine": engine,
    }
    settings = _settings(what, {name: value for name, value in given.items() if value is not None})
    _check_peer(against)
    with quiet_stdout():
        measures, says = _measure(what, settings, repeat)
    from tallystick.lab.bench.machine import describe_machine

    document = {
        "format": "tally.bench/1",
        "ok": True,
        "bench": what,
        "machine": describe_machine(),
        "says": says,
        "results": [measure.to_json() for measure in measures],
    }
    if json:
        print_document(document)
    else:
        _tell(document)


def _check_peer(against: str | None) -> None:
    if against is None:
        return
    if against != "flower":
        msg = f"--against '{against}' is no framework to compare with"
        raise ConfigError(msg, hint="flower")
    msg = "--against flower needs the extra 'flower', which this release does not have yet"
    raise ConfigError(msg, hint="leave --against out")


def _settings(what: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is measured with; refuse what has no meaning here."""
    if what not in TAKES:
        msg = f"unknown bench '{what}'"
        raise ConfigError(msg, hint=f"known: {', '.join(TAKES)}")
    for name in given:
        if name not in TAKES[what]:
            msg = f"--{name.replace('_', '-')} has no meaning for bench '{what}'"
            taken = ", ".join(f"--{each.replace('_', '-')}" for each in (*TAKES[what], "repeat"))
            raise ConfigError(msg, hint=f"it takes {taken}")
    return {**DEFAULTS[what], **given}


def _measure(what: str, settings: dict[str, Any], repeat: int) -> tuple[list[Measure], str]:
    if what == "round":
        from tallystick.lab.bench import round as of_round

        return of_round.measure_rounds(**settings, repeat=repeat), of_round.SAYS
    if what == "ledger":
        from tallystick.lab.bench import ledger

        return ledger.measure_ledger(**settings, repeat=repeat), ledger.SAYS
    if what == "aggregate":
        from tallystick.lab.bench import aggregate

        return aggregate.measure_aggregation(**settings, repeat=repeat), aggregate.SAYS
    if what == "network":
        from tallystick.lab.bench import network

        ordering = settings.pop("engine") or network.default_engine()
        measured = network.measure_network(**settings, repeat=repeat, engine=ordering)
        return measured, network.says(ordering)
    from tallystick.lab.bench import proofs

    return proofs.measure_proofs(repeat), proofs.SAYS


def _tell(document: dict[str, Any]) -> None:
    machine = document["machine"]
    say(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, NumPy {machine['numpy']}"
    )
    shown = ("name", "median", "min", "max", "unit", "repeat")
    rows: list[tuple[str, ...]] = [("", "median", "min", "max", "unit", "of")]
    for result in document["results"]:
        of = ", ".join(f"{key} {value}" for key, value in result.items() if key not in shown)
        values = tuple(f"{result[key]:.4g}" for key in ("median", "min", "max"))
        rows.append((result["name"], *values, result["unit"], of))
    for line in table(rows):
        say(line)
    say(document["says"])
