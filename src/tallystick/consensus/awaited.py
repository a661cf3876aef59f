"""What was handed to a node and is in no block yet, and the node's word that it took it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.codec import decode, encode
from tallystick.consensus.finality import node_keys
from tallystick.consensus.wire import Acknowledgement, SealedHeader, is_acknowledged
from tallystick.errors import DecodeError

if TYPE_CHECKING:
    from tallystick.consensus.client import NodeClient
    from tallystick.consensus.witness import Witness
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.state import State
    from tallystick.ledger.transaction import Transaction

__all__ = ["Awaited", "Sent", "Word", "word_in"]

LOG = logging.getLogger(__name__)
DROPPED_BLOCKS, DROPPED_SECONDS = 20, 30.0  # until silence about a transaction is a lie
MOST_SENT = 10_000

Word = tuple[Acknowledgement, bytes]  # with its signature


@dataclass(slots=True)
class Sent:
    """A transaction on its way.

    Attributes
    ----------
    url
        The node that was handed it, and that gave its word if there is one.
    height, at
        The newest block then, and when that was by this machine's monotonic clock, in seconds.
    """

    tx: Transaction
    url: str
    height: int
    at: float
    word: Word | None = None


class Awaited:
    """The transactions a ledger's client waits for, the newest `MOST_SENT`."""

    def __init__(self, genesis: Genesis, client: NodeClient, witness: Witness) -> None:
        """Begin with none."""
        self._genesis = genesis
        self._client = client
        self._witness = witness
        self._sent: dict[bytes, Sent] = {}

    def add(self, tx: Transaction, url: str, height: int, word: Word | None) -> None:
        """Wait for a transaction that a node took; its first word is kept."""
        known = self._sent.get(tx.hash)
        if known is None:
            if len(self._sent) >= MOST_SENT:
                del self._sent[next(iter(self._sent))]
            known = Sent(tx, url, height, time.monotonic())
            self._sent[tx.hash] = known
        if known.word is None and word is not None:
            known.url, known.word = url, word

    def find(self, tx_hash: bytes) -> Sent | None:
        """Return what is waited for, by its hash."""
        return self._sent.get(tx_hash)

    def forget(self, tx_hash: bytes) -> None:
        """Wait for it no more."""
        self._sent.pop(tx_hash, None)

    def check_dropped(self, sent: Sent, head: SealedHeader) -> None:
        """Name a node that took a transaction and leaves it out of block after block.

        Raises
        ------
        LyingNodeError
            It does, and it alone seals blocks; it is asked no more.
        """
        blocks = head.header.height - sent.height
        if blocks < DROPPED_BLOCKS or time.monotonic() - sent.at < DROPPED_SECONDS:
            return
        order = sent.tx.order
        if any(
            each.tx.order[:2] == order[:2] and each.tx.order < order for each in self._sent.values()
        ):
            return  # it waits for an earlier one of the same sender, perhaps rightly
        if self._genesis.engine != "solo":  # who proposes blocks is not who was handed it
            LOG.warning("transaction %s is in no block yet", sent.tx.hash.hex()[:12])
            self._client.turn(sent.url)
            sent.at, sent.height = time.monotonic(), head.header.height
            return
        msg = f"transaction {sent.tx.hash.hex()[:12]} is in none of the {blocks} blocks since"
        error = self._witness.name(
            sent.url,
            "dropped-submission",
            f"{msg}, and could be in each" + (", though it was acknowledged" if sent.word else ""),
            transaction=sent.tx.wire,
            acknowledgement=encode(sent.word[0]) if sent.word else b"",
            signature=sent.word[1] if sent.word else b"",
            head=encode(head),
        )
        self._client.bar(sent.url)
        raise error


def word_in(
    document: dict[str, object], tx_hash: bytes, state: State, genesis: Genesis, chain: bytes
) -> Word | None:
    """Return a node's acknowledgement if it is by a key that seals, whose owner is held to it."""
    try:
        word = decode(Acknowledgement, bytes.fromhex(str(document["acknowledgement"])))
        signature = bytes.fromhex(str(document["signature"]))
    except (KeyError, ValueError, DecodeError):
        return None
    publics = node_keys(state, genesis)
    signed = any(is_acknowledged(word, signature, public, chain) for public in publics)
    return (word, signature) if signed and word.tx == tx_hash else None
