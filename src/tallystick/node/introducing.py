"""Introduce a node to a consortium that runs: where the others are, as they say themselves."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tallystick.consensus.client import NodeClient, RefusedError, Route
from tallystick.consensus.wire import API
from tallystick.errors import UnavailableError, VerificationError
from tallystick.ledger.genesis import genesis_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.federation.settings import NodeSettings
    from tallystick.ledger.genesis import Genesis

__all__ = ["introduce"]

AUTHORITY = "authority.pem"
ADDRESS = re.compile(
    r"(?P<id>[0-9a-f]{40})@(?P<host>[0-9A-Za-z._-]+|\[?[0-9A-Fa-f:.]+\]?):(?P<port>[0-9]{1,5})\Z"
)
MOST_PORT = 65535
ANYWHERE = {"0.0.0.0", "::", "[::]"}  # noqa: S104 - where a node listens, not where it is


def introduce(
    settings: NodeSettings,
    genesis: Genesis,
    urls: Sequence[str],
    folder: Path,
    authority: Path | None = None,
) -> NodeSettings:
    """Return settings that know other nodes.

    Parameters
    ----------
    urls
        Of the others; each is asked where its CometBFT listens.
    folder
        The new node's; a copy of the authority is kept in it.
    authority
        A PEM file with the authority of their certificates.

    Raises
    ------
    UnavailableError
        One does not answer.
    VerificationError
        One serves another ledger.
    """
    peers = tuple(_address_of(url, genesis, authority) for url in urls)
    kept = ""
    if authority is not None:
        shutil.copyfile(authority, folder / AUTHORITY)
        kept = AUTHORITY
    nodes = tuple(url.rstrip("/") for url in urls)
    return replace(settings, peers=peers, nodes=nodes, authority=kept)


def _address_of(url: str, genesis: Genesis, authority: Path | None) -> str:
    client = NodeClient(Route((url,), authority, None))
    try:
        said = client.ask("GET", f"{API}/status").document()
    except RefusedError as error:
        msg = f"{url} does not answer as a node does: {error}"
        raise UnavailableError(msg) from error
    finally:
        client.close()
    if said.get("genesis") != genesis_hash(genesis).hex():
        msg = f"{url} serves the ledger {said.get('genesis')}, not {genesis_hash(genesis).hex()}"
        raise VerificationError(msg, hint="ask its operator, and compare with what was published")
    found = ADDRESS.fullmatch(str(said.get("address", "")))
    if found is None or not 0 < int(found["port"]) <= MOST_PORT:
        msg = f"{url} does not say where its CometBFT listens"
        raise UnavailableError(msg, hint="see that it is a node under the engine cometbft")
    host = urlsplit(url).hostname if found["host"] in ANYWHERE else found["host"]
    return f"{found['id']}@{host}:{found['port']}"
