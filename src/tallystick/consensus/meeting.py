"""Meet a ledger: its genesis, from the first node that serves one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tallystick.consensus.client import RefusedError
from tallystick.consensus.finality import check_engine
from tallystick.consensus.wire import API
from tallystick.errors import (
    DecodeError,
    TallyError,
    UnavailableError,
    VerificationError,
)
from tallystick.ledger.genesis import Genesis, genesis_hash, load_genesis

if TYPE_CHECKING:
    from tallystick.consensus.client import NodeClient

__all__ = ["fetch_genesis"]

LOG = logging.getLogger(__name__)
MOST_GENESIS_BYTES = 1 << 24


def fetch_genesis(client: NodeClient, wanted: bytes = b"") -> Genesis:
    """Return the genesis that a node serves.

    Parameters
    ----------
    wanted
        Its hash, from elsewhere than the node.

    Raises
    ------
    VerificationError
        It is another one.
    UnavailableError
        The node serves none.
    ConfigError
        It is a ledger of another engine.
    """
    failures: list[TallyError] = []
    for url in client.urls:
        try:
            found = _genesis_at(client, url, wanted)
        except (RefusedError, UnavailableError, VerificationError) as error:
            LOG.warning("%s", error)
            failures.append(error)
            client.turn(url)
        else:
            return found
    lies = [each for each in failures if isinstance(each, VerificationError)]
    if lies:
        raise lies[0]
    msg = "no node serves a genesis"
    raise UnavailableError(msg, hint="; ".join(map(str, failures)))


def _genesis_at(client: NodeClient, url: str, wanted: bytes) -> Genesis:
    answer = client.ask("GET", f"{API}/genesis", at=url, most=MOST_GENESIS_BYTES)
    try:
        genesis = load_genesis(answer.content)
    except DecodeError as error:
        msg = f"{url} does not serve a genesis: {error}"
        raise UnavailableError(msg) from error
    check_engine(genesis)
    found = genesis_hash(genesis)
    if wanted and found != wanted:
        msg = f"{url} serves the ledger {genesis.name}+{found.hex()}, not {wanted.hex()}"
        raise VerificationError(msg, hint="ask its operator, and compare with what was published")
    return genesis
