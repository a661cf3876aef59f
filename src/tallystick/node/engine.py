"""CometBFT beside a node: its folder in the node's, its addresses, and how to start it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tallystick.consensus.cometbft.binary import Binary, find_binary
from tallystick.consensus.cometbft.home import write_home
from tallystick.consensus.cometbft.settings import EngineSettings, StateSync
from tallystick.errors import ConfigError, UnavailableError
from tallystick.failure import BAD_INPUT, FALSE
from tallystick.federation.settings import NodeSettings
from tallystick.ledger.genesis import Genesis
from tallystick.node.program import Program
from tallystick.storage.files import translated

__all__ = [
    "APPLICATION",
    "COMETBFT",
    "Meeting",
    "Prepared",
    "application_command",
    "fixed_port",
    "prepare_engine",
    "write_engine",
]

APPLICATION, COMETBFT = "application", "cometbft"  # what a node's processes are called
MOST_SOCKET_BYTES = 100  # of a path; the kernel takes 107
MOST_WAITING = 5000  # CometBFT looks at each of them again after every block
HOPELESS = frozenset({BAD_INPUT, FALSE})  # folder, settings or ledger are wrong


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where an application and its CometBFT meet.

    Attributes
    ----------
    home
        CometBFT's folder.
    socket
        Where the application has to listen for it.
    rpc_port, metrics_port
        Where it answers, on 127.0.0.1.
    """

    home: Path
    socket: Path
    rpc_port: int
    metrics_port: int

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def metrics_url(self) -> str:
        """Where it says what it counts."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def to_text(self) -> str:
        """Return this for a command line."""
        return json.dumps([str(self.home), str(self.socket), self.rpc_port, self.metrics_port])

    @classmethod
    def from_text(cls, text: str) -> Meeting:
        """Return what `to_text` wrote."""
        home, listening, rpc_port, metrics_port = json.loads(text)
        return cls(Path(home), Path(listening), rpc_port, metrics_port)


@dataclass(frozen=True, slots=True)
class Prepared(Meeting):
    """A CometBFT that can be started.

    Attributes
    ----------
    binary
        Which program it is.
    command, environment
        How it is started.
    log
        Where its output goes.
    """

    binary: Binary
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path

    def programs(self, application: Sequence[str]) -> tuple[Program, Program]:
        """Return what to supervise: the application by its command line, then CometBFT."""
        return (
            Program(APPLICATION, tuple(application), ready=self.socket, hopeless=HOPELESS),
            Program(COMETBFT, self.command, log=self.log, environment=self.environment),
        )


def application_command(
    folder: Path, meeting: Meeting, *, host: str, port: int, as_json: bool
) -> list[str]:
    """Return the command line of the application beside CometBFT."""
    command = [sys.executable, "-P", "-m", "tallystick.node.application", str(folder)]
    command += ["--meeting", meeting.to_text(), "--host", host, "--port", str(port)]
    return command + (["--json-logs"] if as_json else [])


def fixed_port(host: str, port: int) -> int:
    """Return the port, one that is free on ``host`` now in place of 0.

    So that an application that is started again answers where it did before.

    Raises
    ------
    UnavailableError
        Nothing can listen on this host.
    """
    if port:
        return port
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, 0), family=family) as held:
            return int(held.getsockname()[1])
    except OSError as error:
        msg = f"{host} cannot be listened on: {error.strerror or error}"
        raise UnavailableError(msg, hint="name an address of this machine with --host") from error


def prepare_engine(
    folder: Path, settings: NodeSettings, *, binary: Binary | None = None
) -> Prepared:
    """Say where CometBFT's folder is in a node's, where both processes meet, and how to start it.

    Parameters
    ----------
    binary
        By default what `find_binary` finds.

    Raises
    ------
    ConfigError
        As `find_binary`; or there is no private place for the socket.
    UnavailableError
        CometBFT is not installed, or the disk is full or failed.
    """
    program = find_binary() if binary is None else binary
    home = folder.resolve() / "cometbft"
    with translated(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    rpc_port, metrics_port = _ports(settings.engine_port, 0)
    return Prepared(
        home=home,
        socket=_socket_in(home),
        rpc_port=rpc_port,
        metrics_port=metrics_port,
        binary=program,
        command=(str(program.path), "start", "--home", str(home)),
        environment=_environment(settings),
        log=folder.resolve() / "cometbft.log",
    )


def write_engine(  # noqa: PLR0913 - one argument per thing that is decided elsewhere
    meeting: Meeting,
    genesis: Genesis,
    settings: NodeSettings,
    validator_secret: bytes,
    node_secret: bytes,
    *,
    moniker: str = "node",
    state_sync: StateSync | None = None,
    as_json: bool = False,
) -> None:
    """Write CometBFT's folder, or bring it up to date; before CometBFT starts.

    Parameters
    ----------
    validator_secret
        Signs votes: the member's newest validator key on the ledger.
    node_secret
        What other nodes know this one by: the member's first validator key, also after it has
        another.

    Raises
    ------
    ConfigError, UnavailableError
        As `write_home`.
    """
    written = EngineSettings(
        application=str(meeting.socket),
        rpc_port=meeting.rpc_port,
        metrics_port=meeting.metrics_port,
        p2p_host=settings.p2p_host,
        p2p_port=settings.p2p_port,
        peers=settings.peers,
        moniker=moniker,
        commit_milliseconds=settings.commit_milliseconds,
        heartbeat_milliseconds=settings.heartbeat_milliseconds,
        most_waiting=min(settings.pending, MOST_WAITING),
        transaction_bytes=genesis.limits.transaction_bytes,
        filter_peers=True,
        state_sync=state_sync,
        log_format="json" if as_json else "plain",
    )
    write_home(meeting.home, genesis, written, validator_secret, node_secret)


def _environment(settings: NodeSettings) -> dict[str, str]:
    """Return this process's environment without what would change CometBFT's configuration."""
    found = {
        key: value for key, value in os.environ.items() if not key.startswith(("CMT", "TMHOME"))
    }
    return found | ({"SSL_CERT_FILE": settings.authority} if settings.authority else {})


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
