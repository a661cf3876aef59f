"""Transactions that wait for a block: each once, each nonce once, in equal shares of the members.

What a node said it took is kept by the store until a block has it, and waits again after a restart.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import RejectedError, UnavailableError
from tallystick.ledger.contracts import members
from tallystick.ledger.transaction import BadNonceError, transaction_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallystick.ledger.kernel import Kernel
    from tallystick.ledger.state import State
    from tallystick.ledger.transaction import Transaction
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["MOST_PENDING", "DurablePool", "Pool"]

LOG = logging.getLogger(__name__)
MOST_PENDING = 20_000
MOST_BYTES = 1 << 24  # decoded, a large one takes up some five times as much


@dataclass(slots=True)
class _Used:
    """What one member has waiting: transactions, and their bytes."""

    count: int = 0
    size: int = 0


class Pool:
    """What waits, by hash.

    Parameters
    ----------
    kernel
        Checks envelopes.
    most
        How many may wait together; their bytes are `MOST_BYTES` at the most.
    """

    def __init__(self, kernel: Kernel, most: int | None = None) -> None:
        """Start empty."""
        self._kernel = kernel
        self._most = most
        self._waiting: dict[bytes, Transaction] = {}
        self._nonces: set[tuple[str, int, int]] = set()
        self._used: dict[str, _Used] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def __contains__(self, tx_hash: bytes) -> bool:
        """Return whether a transaction waits."""
        return tx_hash in self._waiting

    def find(self, tx_hash: bytes) -> Transaction | None:
        """Return a transaction that waits."""
        return self._waiting.get(tx_hash)

    def waiting(self) -> list[Transaction]:
        """Return what waits, in the order it came."""
        return list(self._waiting.values())

    def used_by(self, sender: str) -> int:
        """Return how many transactions of a member wait."""
        return self._used[sender].count if sender in self._used else 0

    def take(self, state: State, wire: bytes, time: int, *, fairly: bool = True) -> Transaction:
        """Let a transaction wait; with ``fairly`` only within its sender's share.

        Raises
        ------
        RejectedError
            Its envelope is refused at ``time``, or another one with its nonce waits.
        RetryLaterError
            The sender's share is used up.
        """
        tx = self._kernel.check(state, wire, time)
        if tx.hash in self._waiting:
            return tx
        if tx.order in self._nonces:
            msg = f"nonce {tx.body.nonce}: another transaction with it waits already"
            raise BadNonceError(msg)
        sharers = max(1, len(members.active_members(state)))
        used = self._used.setdefault(tx.body.sender, _Used())
        room = max(MOST_BYTES // sharers, self._kernel.limits.transaction_bytes)
        if fairly and used.count >= (self._most or MOST_PENDING) // sharers:
            msg = f"'{tx.body.sender}' has {used.count} transactions waiting"
            raise RetryLaterError(msg)
        if fairly and used.size + len(wire) > room:
            msg = f"'{tx.body.sender}' has {used.size:,} bytes of transactions waiting"
            raise RetryLaterError(msg)
        self._waiting[tx.hash] = tx
        self._nonces.add(tx.order)
        used.count += 1
        used.size += len(wire)
        return tx

    def drop(self, tx_hash: bytes) -> bool:
        """Let a transaction wait no more; return whether it did."""
        tx = self._waiting.pop(tx_hash, None)
        if tx is None:
            return False
        self._nonces.discard(tx.order)
        used = self._used[tx.body.sender]
        used.count -= 1
        used.size -= len(tx.wire)
        return True


class DurablePool(Pool):
    """A pool whose transactions the store keeps until a block has them."""

    def __init__(self, kernel: Kernel, store: LedgerStore, most: int | None = None) -> None:
        """Start empty; `take_up` brings back what an earlier process took."""
        super().__init__(kernel, most)
        self._store = store
        self._held: set[bytes] = set()

    def admit(
        self, state: State, wires: Sequence[bytes], time: int
    ) -> list[bytes | RejectedError | RetryLaterError]:
        """Take several; return for each its hash, or why it is not taken.

        What was taken survives power loss.

        Raises
        ------
        UnavailableError
            The disk is full or failed: none of them counts as taken.
        """
        answers: list[bytes | RejectedError | RetryLaterError] = []
        taken: list[Transaction] = []
        for wire in wires:
            before = len(self)
            try:
                tx = self.take(state, wire, time)
            except (RejectedError, RetryLaterError) as error:
                answers.append(error)
                continue
            answers.append(tx.hash)
            if len(self) > before:
                taken.append(tx)
        try:
            self._store.hold([(tx.hash, tx.wire) for tx in taken])
        except UnavailableError:
            for tx in taken:
                self.drop(tx.hash)
            raise
        self._held.update(tx.hash for tx in taken)
        return answers

    def take_up(self, state: State, time: int) -> dict[bytes, RejectedError]:
        """Let everything wait again that was taken before this process began.

        Returns
        -------
        dict
            Why no block can hold the others, by their hash; they are forgotten.
        """
        spent: dict[bytes, RejectedError] = {}
        for wire in self._store.held():
            try:  # whatever its sender's share is now: it was taken
                self._held.add(self.take(state, wire, time, fairly=False).hash)
            except RejectedError as error:
                tx_hash = transaction_hash(wire)
                LOG.warning("transaction %s is dropped: %s", tx_hash.hex()[:12], error)
                spent[tx_hash] = error
        self._store.release(spent)
        return spent

    def settle(self, included: Iterable[bytes], spent: Iterable[bytes]) -> None:
        """Forget what a block has, which the store has released, and what none will have."""
        for tx_hash in included:
            self._held.discard(tx_hash)
            self.drop(tx_hash)
        gone = list(spent)
        self._store.release(self._held.intersection(gone))
        self._held.difference_update(gone)
        for tx_hash in gone:
            self.drop(tx_hash)
