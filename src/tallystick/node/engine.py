"""CometBFT beside a node: its folder in the node's, its addresses, and how to start it."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tallystick.consensus.cometbft.binary import Binary, find_binary
from tallystick.consensus.cometbft.home import node_id, write_home
from tallystick.consensus.cometbft.settings import EngineSettings, StateSync
from tallystick.crypto import keys
from tallystick.errors import ConfigError
from tallystick.federation.settings import NodeSettings
from tallystick.ledger.genesis import Genesis
from tallystick.node.program import Program
from tallystick.storage.files import translated

__all__ = ["APPLICATION", "COMETBFT", "Prepared", "prepare_engine"]

APPLICATION, COMETBFT = "application", "cometbft"  # what a node's processes are called
MOST_SOCKET_BYTES = 100  # of a path; the kernel takes 107
MOST_WAITING = 5000  # CometBFT looks at each of them again after every block
BAD_INPUT = 2  # the exit status of an application whose folder or settings are wrong


@dataclass(frozen=True, slots=True)
class Prepared:
    """A CometBFT that can be started.

    Attributes
    ----------
    home
        Its folder.
    socket
        Where the application has to listen for it.
    rpc_port, metrics_port
        Where it answers, on 127.0.0.1.
    node_id
        What other nodes know it by.
    binary
        Which program it is.
    command, environment
        How it is started.
    log
        Where its output goes.
    """

    home: Path
    socket: Path
    rpc_port: int
    metrics_port: int
    node_id: str
    binary: Binary
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.rpc_port}"

    def programs(self, application: Sequence[str]) -> tuple[Program, Program]:
        """Return what to supervise: the application by its command line, then CometBFT."""
        hopeless = frozenset({BAD_INPUT})
        return (
            Program(APPLICATION, tuple(application), ready=self.socket, hopeless=hopeless),
            Program(COMETBFT, self.command, log=self.log, environment=self.environment),
        )


def prepare_engine(  # noqa: PLR0913 - one argument per thing that is decided elsewhere
    folder: Path,
    genesis: Genesis,
    settings: NodeSettings,
    validator_secret: bytes,
    *,
    node_secret: bytes | None = None,
    moniker: str = "node",
    metrics_port: int = 0,
    state_sync: StateSync | None = None,
    filter_peers: bool = False,
    log_level: Literal["info", "error"] = "error",
    as_json: bool = False,
    binary: Binary | None = None,
) -> Prepared:
    """Write CometBFT's folder inside a node's, ``folder / "cometbft"``, and say how to start it.

    Parameters
    ----------
    validator_secret
        Signs votes: the member's newest validator key on the ledger.
    node_secret
        What other nodes know this one by: the member's first validator key, also after it has
        another; the ``validator_secret`` by default.
    metrics_port
        On 127.0.0.1; 0 takes a free one.
    binary
        By default what `find_binary` finds.

    Raises
    ------
    ConfigError
        As `find_binary` and `write_home`; or there is no private place for the socket.
    UnavailableError
        CometBFT is not installed, or the disk is full or failed.
    """
    program = find_binary() if binary is None else binary
    home = folder.resolve() / "cometbft"
    with translated(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    listening = _socket_in(home)
    rpc_port, metrics_port = _ports(settings.engine_port, metrics_port)
    written = EngineSettings(
        application=str(listening),
        rpc_port=rpc_port,
        metrics_port=metrics_port,
        p2p_host=settings.p2p_host,
        p2p_port=settings.p2p_port,
        peers=settings.peers,
        moniker=moniker,
        commit_milliseconds=settings.commit_milliseconds,
        heartbeat_milliseconds=settings.heartbeat_milliseconds,
        most_waiting=min(settings.pending, MOST_WAITING),
        transaction_bytes=genesis.limits.transaction_bytes,
        filter_peers=filter_peers,
        state_sync=state_sync,
        log_level=log_level,
        log_format="json" if as_json else "plain",
    )
    known_by = validator_secret if node_secret is None else node_secret
    write_home(home, genesis, written, validator_secret, known_by)
    return Prepared(
        home=home,
        socket=listening,
        rpc_port=rpc_port,
        metrics_port=metrics_port,
        node_id=node_id(keys.public_of(known_by)),
        binary=program,
        command=(str(program.path), "start", "--home", str(home)),
        environment=_environment(),
        log=folder.resolve() / "cometbft.log",
    )


def _environment() -> dict[str, str]:
    """Return this process's environment without what would change CometBFT's configuration."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("CMT", "TMHOME"))
    }


def _ports(*wanted: int) -> list[int]:
    """Return the ports, free ones of 127.0.0.1 in place of 0."""
    with ExitStack() as held:  # until all are found, so that no two are the same
        return [port or held.enter_context(_listener()).getsockname()[1] for port in wanted]


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _socket_in(home: Path) -> Path:
    """Return where to listen: in CometBFT's folder, or somewhere short where the path is long."""
    path = home / "app.sock"
    if len(os.fsencode(path)) <= MOST_SOCKET_BYTES:
        return path
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    name = f"tally-{os.geteuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    for base in (runtime, tempfile.gettempdir(), "/tmp"):  # noqa: S108 - in a private folder there
        path = Path(base) / name / "app.sock"
        if base and Path(base).is_dir() and len(os.fsencode(path)) <= MOST_SOCKET_BYTES:
            break
    with translated(path.parent):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        msg = f"{path.parent} belongs to somebody else or is open to others"
        raise ConfigError(msg, hint=f"remove it, or move the node to a shorter path than {home}")
    return path
