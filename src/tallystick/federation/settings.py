"""How an organisation runs its node: where it listens and how much it takes. No secrets.

These are the organisation's own business, unlike the genesis: changing them changes no ledger.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from tallystick.errors import ConfigError
from tallystick.federation.armour import read_small
from tallystick.federation.locate import located
from tallystick.federation.task_text import toml_value
from tallystick.storage.files import open_regular

__all__ = ["BASE_PORT", "COMETBFT", "MOST_PORT", "P2P_OFFSET", "NodeSettings"]

BASE_PORT = 26650
P2P_OFFSET = 1000  # from a node's port to the one its CometBFT is reached at
MOST_PORT = 65535
GIB = 1 << 30
SAYS = {
    "host": "the address this node listens on",
    "port": "and the port",
    "public_url": "where the others reach it, such as https://node.north.example",
    "certificate": "TLS: a PEM file, from this folder on; empty leaves TLS to a proxy in front",
    "certificate_key": "TLS: the certificate's private key, a PEM file",
    "encrypt": "keep blobs encrypted on disk",
    "quota_bytes": "how much room the blobs of each member in each task may take",
    "batch_milliseconds": "how long the sealer gathers transactions for a block",
    "requests_per_second": "per member, or per address where nobody signs; more are told to wait",
    "connections": "at a time",
    "pending": "transactions that may wait for a block",
    "p2p_host": "the address CometBFT listens on for other nodes'",
    "p2p_port": "and the port",
    "engine_port": "where CometBFT answers this node, on 127.0.0.1; 0 takes a free port",
    "commit_milliseconds": "how long CometBFT waits after a block before the next",
    "heartbeat_milliseconds": "how often there is an empty block when nobody sends anything",
    "peers": "the other nodes' CometBFT, each ID@HOST:PORT",
    "nodes": "the other nodes, each its public_url",
    "authority": "who signs their certificates, a PEM file; empty: whom this machine trusts",
    "snapshot_blocks": "how often to make what newcomers begin with; 0 makes none",
}
# Written only where one of them is set: an engine that asks no other nodes has no use for them.
COMETBFT = (
    "p2p_host",
    "p2p_port",
    "engine_port",
    "commit_milliseconds",
    "heartbeat_milliseconds",
    "peers",
    "nodes",
    "authority",
    "snapshot_blocks",
)
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, MOST_PORT),
    "quota_bytes": (0, 2**63 - 1),
    "batch_milliseconds": (0, 60_000),
    "requests_per_second": (1, 1_000_000),
    "connections": (1, 1_000_000),
    "pending": (1, 10_000_000),
    "p2p_port": (1, MOST_PORT),
    "engine_port": (0, MOST_PORT),
    "commit_milliseconds": (0, 60_000),
    "heartbeat_milliseconds": (100, 3_600_000),
    "snapshot_blocks": (0, 10**9),
}
LIST = "tuple[str, ...]"
KINDS = {"str": "text", "int": "a whole number", "bool": "true or false", LIST: "a list of texts"}
FORMS = {
    "peers": (re.compile(r"[0-9a-f]{40}@[^\s@,/]+:[0-9]{1,5}\Z"), "ID@HOST:PORT"),
    "nodes": (re.compile(r"https?://[^\s/,]+/?\Z"), "http://HOST:PORT or https://HOST"),
}
HINT = "name the node.toml that `tally network init` wrote"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What is in a node's ``node.toml``; every key has a default.

    Attributes
    ----------
    host, port
        Where the node listens; port 0 takes a free one.
    public_url
        Where others reach it; empty when that is ``host`` and ``port``.
    certificate, certificate_key
        PEM files for TLS, both or none; a node looks for them in its folder.
    encrypt
        Keep blobs encrypted on disk.
    quota_bytes
        Room for the blobs of each member in each task.
    batch_milliseconds
        The time to gather transactions for a block.
    requests_per_second, connections, pending
        Limits per member or address, in all, and for transactions that wait.
    p2p_host, p2p_port
        Where CometBFT listens for other nodes'.
    engine_port
        Where CometBFT answers this node, on 127.0.0.1; 0 takes a free port.
    commit_milliseconds, heartbeat_milliseconds
        The wait after a block, and the time between empty ones.
    peers, nodes
        The other nodes: their CometBFT's, and their public URLs.
    authority
        A PEM file with the authority of the other nodes' certificates.
    snapshot_blocks
        The number of blocks between two snapshots.

    Raises
    ------
    ConfigError
        A value is of another kind or out of its range; names the key.
    """

    host: str = "127.0.0.1"
    port: int = BASE_PORT
    public_url: str = ""
    certificate: str = ""
    certificate_key: str = ""
    encrypt: bool = False
    quota_bytes: int = 64 * GIB
    batch_milliseconds: int = 20
    requests_per_second: int = 1000
    connections: int = 512
    pending: int = 20_000
    p2p_host: str = "127.0.0.1"
    p2p_port: int = BASE_PORT + P2P_OFFSET
    engine_port: int = 0
    commit_milliseconds: int = 100
    heartbeat_milliseconds: int = 5000
    peers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    authority: str = ""
    snapshot_blocks: int = 500

    def __post_init__(self) -> None:
        """Refuse values of the wrong kind or size."""
        for each in fields(self):
            _check(each.name, str(each.type), getattr(self, each.name))
        for key in ("host", "p2p_host"):
            if not getattr(self, key):
                msg = f"key '{key}' is empty"
                hint = "0.0.0.0 listens on every address, 127.0.0.1 on none else"
                raise ConfigError(msg, hint=hint)
        if bool(self.certificate) != bool(self.certificate_key):
            msg = "keys 'certificate' and 'certificate_key' belong together"
            raise ConfigError(msg, hint="name both files, or neither")
        ports = [self.port, self.p2p_port, *([self.engine_port] if self.engine_port else [])]
        if len(set(ports)) < len(ports):
            msg = f"key 'p2p_port' = {self.p2p_port}: each of a node's ports is another one"
            raise ConfigError(msg, hint="port, p2p_port and engine_port differ")

    @classmethod
    def load(cls, path: Path) -> NodeSettings:
        """Read a settings file.

        Raises
        ------
        ConfigError
            Not readable, not TOML, a key it does not know, or a value out of range; names the line.
        """
        with open_regular(path, HINT) as file:
            data = read_small(file, path)
        try:
            table = tomllib.loads(data.decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from error
        try:
            return cls._parse(table)
        except ConfigError as error:
            raise located(path, error) from error

    @classmethod
    def _parse(cls, table: dict[str, Any]) -> NodeSettings:
        known = [each.name for each in fields(cls)]
        for key in table:
            if key not in known:
                msg = f"unknown key '{key}'"
                raise ConfigError(msg, hint=f"known: {', '.join(known)}")
        given = {key: _tuple(value) for key, value in table.items()}
        return cls(**given)

    def to_toml(self) -> str:
        """Return the text of a settings file, every key with what it is for.

        Those of the engine ``cometbft`` are left out where all of them have their defaults.
        """
        defaults = {each.name: each.default for each in fields(self)}
        plain = all(getattr(self, key) == defaults[key] for key in COMETBFT)
        lines = ["# How this organisation runs its node. No secrets, and no part of the ledger."]
        for each in fields(self):
            if plain and each.name in COMETBFT:
                continue
            lines += ["", f"# {SAYS[each.name]}"]
            lines += [f"{each.name} = {toml_value(getattr(self, each.name))}"]
        return "\n".join(lines) + "\n"


def _tuple(value: Any) -> Any:  # noqa: ANN401 - whatever TOML holds
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def _check(key: str, kind: str, value: object) -> None:
    right = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        LIST: isinstance(value, tuple)
        and all(isinstance(each, str) for each in cast("tuple[object, ...]", value)),
    }
    if not right[kind]:
        msg = f"key '{key}' is not {KINDS[kind]}"
        raise ConfigError(msg)
    low, high = RANGES.get(key, (-math.inf, math.inf))
    if isinstance(value, int) and not low <= value <= high:
        msg = f"key '{key}' is {value}: {low:g} to {high:g}"
        raise ConfigError(msg)
    if key in FORMS:
        form, shown = FORMS[key]
        for each in cast("tuple[str, ...]", value):
            if not form.match(each):
                msg = f"key '{key}' holds '{each}', which is not {shown}"
                raise ConfigError(msg)
