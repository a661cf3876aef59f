"""``tally node``: make a node's folder, and serve it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tallystick.cli.options import Authority, Json, KeyFolder
from tallystick.cli.output import print_document, say

__all__ = ["node"]

node = typer.Typer(help="Make a node's folder, and serve it.", rich_markup_mode=None)
FORMAT = "tally.node/1"
Home = Annotated[Path, typer.Argument(metavar="HOME", help="The node's folder.")]


@node.command()
def init(
    home: Home,
    genesis: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The network's genesis.bin, or the folder it is in."),
    ],
    key: KeyFolder,
    nodes: Annotated[
        list[str] | None,
        typer.Option(
            "--node", metavar="URL", help="A node of a consortium that runs already; repeatable."
        ),
    ] = None,
    ca: Authority = None,
    json: Json = False,
) -> None:
    """Make a node's folder: genesis, settings, and where the key is. No secret is copied.

    With --node the settings know the nodes named: each is asked where its CometBFT listens.

    The settings are those that `tally network init` wrote for this member, or else the defaults.
    """
    from tallystick.federation.network_folder import SETTINGS, genesis_line, read_genesis
    from tallystick.ledger.genesis import genesis_hash
    from tallystick.node.home import init_home

    settings = init_home(home, genesis, key, nodes or (), ca)
    found = read_genesis(genesis)
    if json:
        print_document(
            {
                "format": FORMAT,
                "ok": True,
                "home": str(home),
                "chain_id": found.name,
                "genesis": genesis_hash(found),
                "trial": found.trial,
                "engine": found.engine,
                "host": settings.host,
                "port": settings.port,
                "public_url": settings.public_url,
                "files": {"settings": str(home / SETTINGS)},
            }
        )
        return
    say(f"ledger    {genesis_line(found)}")
    say(f"listens   {settings.host}:{settings.port}  (change it in {home / SETTINGS})")
    say(f"start it  tally node start {home}")


@node.command()
def start(
    home: Home,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log one JSON object a line on standard error.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(help="Where to listen instead of the settings' host.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="And the port; 0 takes a free one."),
    ] = None,
) -> None:
    """Serve a node until SIGTERM or Ctrl-C, which end it cleanly.

    Whatever else ends it, the same command goes on, with everything that was acknowledged.
    """
    from tallystick.federation.network_folder import read_genesis

    if read_genesis(home).engine == "cometbft":
        _run_beside_cometbft(home, host=host, port=port, as_json=json_logs)
    from tallystick.node.home import open_home
    from tallystick.node.logs import log_to_stderr
    from tallystick.node.serve import serve

    try:
        log_to_stderr(as_json=json_logs)
        opened = open_home(home, host=host, port=port)
        serve(opened, lambda url: say(f"serving {opened.genesis.name} at {url}"))
    except KeyboardInterrupt:  # told to end before it served
        pass
    _expect_no_more_signals()


def _run_beside_cometbft(
    home: Path, *, host: str | None, port: int | None, as_json: bool
) -> NoReturn:
    """Become what runs a node's application and its CometBFT until a signal."""
    from tallystick.node.engine import application_command, fixed_port, prepare_engine
    from tallystick.node.home import open_folder
    from tallystick.node.plan import Plan, become_supervisor

    settings = open_folder(home, host=host, port=port).settings
    prepared = prepare_engine(home, settings)
    command = application_command(
        home,
        prepared,
        host=settings.host,
        port=fixed_port(settings.host, settings.port),
        as_json=as_json,
    )
    become_supervisor(Plan(home, prepared.programs(command), as_json))


def _expect_no_more_signals() -> None:
    """Let whoever tells it twice to end have no other answer than who does so once."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
