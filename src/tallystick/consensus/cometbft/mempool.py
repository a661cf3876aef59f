"""What CometBFT's mempool holds, decoded and verified once for the proposal and the block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tallystick.consensus.pool import Pool
from tallystick.errors import RejectedError
from tallystick.ledger.transaction import transaction_hash, verify_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallystick.ledger.kernel import Kernel
    from tallystick.ledger.state import State
    from tallystick.ledger.transaction import Transaction

__all__ = ["Mempool"]

VERIFYING_THREADS = 2
FEW = 8  # transactions that are verified as soon as they are executed
MOST_MEMPOOL = 5_000  # as CometBFT's, so that no member has more than its share of that one


class Mempool(Pool):
    """A pool that follows CometBFT's: what it did not ask about after a block is not in it."""

    def __init__(self, kernel: Kernel, most: int | None = None) -> None:
        """Start empty."""
        super().__init__(kernel, min(most or MOST_MEMPOOL, MOST_MEMPOOL))
        self._seen: set[bytes] = set()  # since the last block
        self._verifying = ThreadPoolExecutor(VERIFYING_THREADS, "verify")

    def enter(self, state: State, wire: bytes, time: int) -> None:
        """Take a transaction that is new. Raises as `Pool.take`."""
        self._seen.add(self.take(state, wire, time).hash)

    def stay(self, state: State, tx: Transaction, time: int) -> None:
        """Keep a transaction that was asked about again after a block.

        Raises
        ------
        RejectedError
            Its envelope is refused by now.
        """
        self._kernel.check_envelope(state, tx, time)
        self._seen.add(tx.hash)

    def parse(self, wire: bytes) -> Transaction:
        """Return a transaction, decoded only if it does not wait. Raises as `Kernel.parse`."""
        return self.find(transaction_hash(wire)) or self._kernel.parse(wire)

    def verify_ahead(self, state: State, wires: Sequence[bytes]) -> None:
        """Verify the signatures of those that do not wait, which were verified when they came.

        In two threads: libsodium does not hold the interpreter's lock.
        """
        new = [wire for wire in wires if transaction_hash(wire) not in self]
        if len(new) <= FEW:
            return

        def verify(part: Sequence[bytes]) -> None:
            for wire in part:
                try:
                    tx = self._kernel.parse(wire)
                except RejectedError:
                    return  # executing it says why
                verify_signature(state, tx, self._kernel.chain)

        parts = [new[start::VERIFYING_THREADS] for start in range(VERIFYING_THREADS)]
        list(self._verifying.map(verify, parts))

    def turn(self, included: Iterable[bytes]) -> None:
        """Drop what a block has, and what was not asked about since the block before it."""
        for tx_hash in included:
            self.drop(tx_hash)
        for tx in self.waiting():
            if tx.hash not in self._seen:
                self.drop(tx.hash)
        self._seen = set()

    def close(self) -> None:
        """End the threads that verify."""
        self._verifying.shutdown()
