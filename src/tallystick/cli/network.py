"""``tally network``: found a network from its members' cards, print its line, find its engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.cli.options import Authority, Json, Proxy
from tallystick.cli.output import print_document, say, table, warn
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick.federation.card import Card
    from tallystick.federation.settings import NodeSettings
    from tallystick.ledger.genesis import Genesis

__all__ = ["network"]

network = typer.Typer(
    help="Found a network, print the line that names it, or find its engine.", rich_markup_mode=None
)
FORMAT = "tally.network/1"
FOUND = {"variable": "TALLY_COMETBFT names it", "cache": "kept by tally", "path": "on PATH"}
BASE_PORT = 26650


@network.command()
def init(  # noqa: PLR0917 - one argument per documented flag
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; it must not hold a network yet.")
    ],
    cards: Annotated[
        list[Path] | None, typer.Argument(metavar="CARD…", help="The founders' cards.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="solo|cometbft", help="What orders transactions.")
    ] = "solo",
    name: Annotated[str, typer.Option(help="The network's name; the folder's by default.")] = "",
    sealer: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who seals blocks on solo; the first card's by default."),
    ] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=HOST", help="Where a member's node listens; repeatable."),
    ] = None,
    base_port: Annotated[
        int, typer.Option(metavar="N", help="The first member's port; the others' follow.")
    ] = BASE_PORT,
    trial: Annotated[
        str, typer.Option(metavar="A,B,…", help="Make these members' keys, too, from a seed.")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The seed of a trial network; 0 by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the genesis of a network and each organisation's settings, no secrets.

    With --trial also every member's keys: a complete network, good for nothing but tests.
    """
    from tallystick.federation.card import make_card
    from tallystick.federation.founding import trial_network, warning
    from tallystick.federation.network_folder import (
        check_unfounded,
        name_for,
        plan_settings,
        write_network,
    )

    check_unfounded(folder)
    _check_source(cards, trial, seed)
    hosts = _hosts(host or ())
    called, keyrings = name or name_for(folder), None
    if trial:
        names = [each.strip() for each in trial.split(",")]
        made = trial_network(names, seed or 0, name=called, engine=engine, sealer=sealer or None)
        genesis, keyrings = made.genesis, made.keyrings
        held = [make_card(keyring) for keyring in keyrings.values()]
    else:
        held, genesis = _found(called, cards or (), engine, sealer)
    settings = plan_settings([card.name for card in held], hosts, base_port, genesis)
    write_network(folder, genesis, settings, keyrings)
    document = _document(folder, genesis, held, settings, keyed=bool(trial))
    if doubt := warning(genesis):
        warn(doubt)
    if json:
        print_document(document)
    else:
        _tell(document)


@network.command()
def card(
    source: Annotated[
        str, typer.Argument(metavar="DIR|FILE|URL", help="A network's folder, genesis or node.")
    ],
    ca: Authority = None,
    proxy: Proxy = None,
    json: Json = False,
) -> None:
    """Print the genesis to publish, CHAIN+HEX: what others check bundles against."""
    from tallystick.federation.card import fingerprint
    from tallystick.federation.network_folder import genesis_line, read_genesis

    if source.startswith(("http://", "https://")):
        genesis = _genesis_from_url(source, ca, proxy)
    else:
        genesis = read_genesis(Path(source))
    if json:
        founders = [
            {"name": founder.id, "fingerprint": fingerprint(founder.id, founder.keys)}
            for founder in genesis.founders
        ]
        print_document({**_facts(genesis), "members": founders})
    else:
        say(genesis_line(genesis))


@network.command()
def engine(
    install: Annotated[
        bool, typer.Option("--install", help="Build CometBFT with Go, and keep it.")
    ] = False,
    binary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep this CometBFT, if it is one known here."),
    ] = None,
    json: Json = False,
) -> None:
    """Say which CometBFT orders a network's transactions on this machine."""
    from tallystick.consensus.cometbft.binary import adopt_binary, find_binary, install_binary

    if install and binary is not None:
        msg = "--install builds CometBFT and takes no --binary"
        raise ConfigError(msg, hint="leave one of them out")
    if install:
        found = install_binary()
    else:
        found = find_binary() if binary is None else adopt_binary(binary)
    document = {
        "format": "tally.network-engine/1",
        "ok": True,
        "path": str(found.path),
        "version": found.version,
        "digest": found.digest,
        "pinned": found.is_pinned,
        "source": found.source,
    }
    if json:
        print_document(document)
        return
    say(f"CometBFT  {found.version}")
    say(f"program   {found.path}  ({FOUND[found.source]})")
    known = "  (a build known to this release)" if found.is_pinned else ""
    say(f"sha256    {found.digest.hex()}{known}")


def _genesis_from_url(url: str, ca: Path | None, proxy: str | None) -> Genesis:
    from tallystick.consensus.client import NodeClient, Route
    from tallystick.consensus.meeting import fetch_genesis

    client = NodeClient(Route((url,), ca, proxy))
    try:
        return fetch_genesis(client)
    finally:
        client.close()


def _check_source(cards: Sequence[Path] | None, trial: str, seed: int | None) -> None:
    """Refuse both cards and --trial, or neither, or a seed for real keys."""
    if trial and cards:
        msg = "--trial makes its members' keys itself and takes no cards"
        raise ConfigError(msg, hint="leave out --trial, or the cards")
    if not trial and not cards:
        msg = "a network needs the cards of its founders"
        hint = "each makes one with `tally key new`; --trial a,b,c,d makes a network to try"
        raise ConfigError(msg, hint=hint)
    if seed is not None and not trial:
        msg = "--seed is for --trial alone: real keys come from the operating system"
        raise ConfigError(msg, hint="leave out --seed")


def _found(
    name: str, paths: Sequence[Path], engine: str, sealer: str
) -> tuple[list[Card], Genesis]:
    from tallystick.federation.card import load_card
    from tallystick.federation.founding import found_network

    cards = [load_card(path) for path in paths]
    now = time.time_ns() // 1_000_000
    return cards, found_network(name, cards, engine=engine, sealer=sealer or None, time=now)


def _hosts(given: Sequence[str]) -> dict[str, str]:
    hosts: dict[str, str] = {}
    for each in given:
        name, _, host = each.partition("=")
        if not name or not host:
            msg = f"--host '{each}' is not NAME=HOST"
            raise ConfigError(msg, hint="such as --host north=node.north.example")
        if name in hosts:
            msg = f"--host gives '{name}' two hosts"
            raise ConfigError(msg, hint="name each member once")
        hosts[name] = host
    return hosts


def _facts(genesis: Genesis) -> dict[str, Any]:
    from tallystick.federation.network_folder import genesis_line
    from tallystick.ledger.contracts.validators import founding_seats
    from tallystick.ledger.genesis import genesis_hash

    return {
        "format": FORMAT,
        "ok": True,
        "line": genesis_line(genesis),
        "chain": genesis.name,
        "genesis": genesis_hash(genesis),
        "engine": genesis.engine,
        "sealer": genesis.sealer,
        "validators": list(founding_seats(genesis)) if genesis.engine == "cometbft" else [],
        "trial": genesis.trial,
        "time": genesis.time,
    }


def _document(
    folder: Path,
    genesis: Genesis,
    cards: Sequence[Card],
    settings: Mapping[str, NodeSettings],
    *,
    keyed: bool,
) -> dict[str, Any]:
    from tallystick.federation.card import card_fingerprint
    from tallystick.federation.network_folder import GENESIS, SETTINGS

    members: list[dict[str, Any]] = []
    for card in sorted(cards, key=lambda card: card.name):
        each, home = settings[card.name], folder / card.name
        secret = {"key": str(home)} if keyed else {}
        members.append(
            {
                "name": card.name,
                "fingerprint": card_fingerprint(card),
                "host": each.host,
                "port": each.port,
                "public_url": each.public_url,
                "settings": str(home / SETTINGS),
                **secret,
            }
        )
    files = {"out": str(folder), "genesis": str(folder / GENESIS)}
    return {**_facts(genesis), "members": members, "files": files}


def _ordering(document: dict[str, Any]) -> str:
    from tallystick.ledger.contracts.validators import faults_of

    together = document["validators"]
    if document["engine"] != "cometbft":
        return f"{document['sealer']} alone"
    who = f"{', '.join(together)} together" if len(together) > 1 else f"{together[0]} alone"
    failing = faults_of(len(together))
    return who + (f"; any {failing} of {len(together)} may fail or lie" if failing else "")


def _tell(document: dict[str, Any]) -> None:
    trial = "  (trial: anybody may know its keys)" if document["trial"] else ""
    say(f"genesis   {document['files']['genesis']}{trial}")
    say(f"ordered   by {_ordering(document)}")
    rows = [(each["name"], each["public_url"], each["fingerprint"]) for each in document["members"]]
    for line in table(rows):
        say(f"member    {line}")
    if not document["trial"]:
        say("compare each fingerprint with its member, over another channel than the card came by")
    say("every organisation publishes this line:")
    say(document["line"])
