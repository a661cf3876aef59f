"""A network's folder: its genesis, and the settings of every organisation.

The genesis is written last, so a folder that has one is complete, and what was interrupted before
that can be begun again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tallystick.codec import encode
from tallystick.consensus.cometbft.home import node_id
from tallystick.errors import ConfigError, DecodeError
from tallystick.federation.armour import write_new
from tallystick.federation.card import make_card, save_card
from tallystick.federation.key_file import key_path, load_keyring, save_keyring
from tallystick.federation.keyring import Keyring
from tallystick.federation.settings import BASE_PORT, MOST_PORT, P2P_OFFSET, NodeSettings
from tallystick.ledger.genesis import Genesis, genesis_hash, load_genesis
from tallystick.storage.files import open_regular

__all__ = [
    "GENESIS",
    "SETTINGS",
    "check_unfounded",
    "genesis_line",
    "name_for",
    "plan_settings",
    "read_genesis",
    "write_network",
]

GENESIS = "genesis.bin"
SETTINGS = "node.toml"
MOST_NAME = 32
MOST_GENESIS_BYTES = 1 << 24
HOST = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\Z")
HINT = "name a genesis.bin, or the folder that `tally network init` wrote"


def genesis_line(genesis: Genesis) -> str:
    """Return the line that every organisation publishes: ``CHAIN+HEX``."""
    return f"{genesis.name}+{genesis_hash(genesis).hex()}"


def name_for(folder: Path) -> str:
    """Return a network's name after its folder.

    Examples
    --------
    >>> name_for(Path("Heart Study_2026"))
    'heart-study-2026'
    """
    fit = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower())
    return fit[:MOST_NAME].strip("-") or "network"


def plan_settings(
    names: Sequence[str],
    hosts: Mapping[str, str],
    base_port: int = BASE_PORT,
    genesis: Genesis | None = None,
) -> dict[str, NodeSettings]:
    """Return each member's settings: ports count up from the base, in the order of names.

    Parameters
    ----------
    genesis
        With one of the engine ``cometbft``, every node also knows the others; the ports of their
        CometBFT count up from a thousand above the base.

    Raises
    ------
    ConfigError
        A host is for nobody or none, a founder has no validator key, or there are not enough ports.
    """
    listed = sorted(names)
    for name in hosts:
        if name not in listed:
            msg = f"--host names '{name}', who is no member"
            raise ConfigError(msg, hint=f"members: {', '.join(listed)}")
    met = genesis is not None and genesis.engine == "cometbft"
    offset = max(P2P_OFFSET, len(listed)) if met else 0
    if not 1 <= base_port <= MOST_PORT + 1 - len(listed) - offset:
        beyond = f", and as many from {base_port + offset} on," if met else ""
        msg = (
            f"--base-port {base_port} does not leave {len(listed)} ports{beyond} up to {MOST_PORT}"
        )
        raise ConfigError(msg, hint=f"such as {BASE_PORT}")
    planned: dict[str, NodeSettings] = {}
    for port, name in enumerate(listed, start=base_port):
        host = hosts.get(name, NodeSettings().host)
        scheme = "http" if _is_inside(host) else "https"  # nobody is spoken to in the clear
        url = f"{scheme}://{_in_url(host)}:{port}"
        planned[name] = NodeSettings(host=host, port=port, public_url=url)
    return planned if genesis is None or not met else _introduced(planned, genesis, offset)


def _introduced(
    planned: Mapping[str, NodeSettings], genesis: Genesis, offset: int
) -> dict[str, NodeSettings]:
    """Return the settings of nodes that know each other."""
    addresses: dict[str, str] = {}
    for founder in genesis.founders:
        if founder.id not in planned:
            continue
        public = founder.validator
        if public is None:
            msg = f"'{founder.id}' has no validator key"
            raise ConfigError(msg, hint="a card that `tally key new` makes has one")
        own = planned[founder.id]
        addresses[founder.id] = f"{node_id(public)}@{_in_url(own.host)}:{own.port + offset}"
    return {
        name: replace(
            own,
            p2p_host=own.host,
            p2p_port=own.port + offset,
            peers=tuple(addresses[other] for other in planned if other != name),
            nodes=tuple(planned[other].public_url for other in planned if other != name),
        )
        for name, own in planned.items()
    }


def check_unfounded(folder: Path) -> None:
    """Refuse a folder that holds a genesis: a network is founded once.

    Raises
    ------
    ConfigError
        It does.
    """
    if (folder / GENESIS).exists():
        msg = f"{folder} holds a network already: {folder / GENESIS}"
        raise ConfigError(msg, hint="name another folder")


def write_network(
    folder: Path,
    genesis: Genesis,
    settings: Mapping[str, NodeSettings],
    keyrings: Mapping[str, Keyring] | None = None,
) -> None:
    """Write ``NAME/node.toml`` for everybody, then ``genesis.bin``; with keyrings, keys and cards.

    Raises
    ------
    ConfigError
        The folder holds a genesis, or another file where one of these goes.
    UnavailableError
        The disk is full or failed; the same call may be repeated.
    """
    check_unfounded(folder)
    if GENESIS in settings:
        msg = f"a member called '{GENESIS}' would lie where the genesis does"
        raise ConfigError(msg, hint="give it another name")
    folder.mkdir(parents=True, exist_ok=True)
    for name, keyring in (keyrings or {}).items():
        home = folder / name
        if not (key_path(home, name).exists() and load_keyring(home, name) == keyring):
            save_keyring(home, keyring)
        save_card(home / f"{name}.card", make_card(keyring))
    for name, each in settings.items():
        (folder / name).mkdir(exist_ok=True)
        write_new(folder / name / SETTINGS, each.to_toml())
    write_new(folder / GENESIS, encode(genesis))


def read_genesis(path: Path) -> Genesis:
    """Read a genesis from a file, or from the folder that has it.

    Raises
    ------
    ConfigError
        There is none, or it cannot be read.
    DecodeError
        It is no genesis, or damaged; the message names the file.
    """
    found = path / GENESIS if path.is_dir() else path
    if path.is_dir() and not found.exists():
        msg = f"{path} holds no {GENESIS}"
        raise ConfigError(msg, hint=HINT)
    with open_regular(found, HINT) as file:
        data = file.read(MOST_GENESIS_BYTES + 1)
    try:
        return load_genesis(data)
    except DecodeError as error:
        msg = f"{found}: {error}"
        raise DecodeError(msg, hint=HINT) from error


def _is_inside(host: str) -> bool:
    """Return whether a host is this machine and no other can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    """Return a host as it stands in a URL; refuse what is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if HOST.match(host):
            return host
    else:
        if "%" not in host:
            return f"[{host}]" if address.version == 6 else host  # noqa: PLR2004 - IPv6
    msg = f"'{host}' is no host: a name such as node.north.example, or an address"
    raise ConfigError(msg, hint="say --host NAME=HOST, without a port")
