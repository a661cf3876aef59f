"""A member's hand, led by somebody else: it signs whatever a probe wants to try.

It signs with the member's worker key, whose nonces are its own, so that the member itself is not
disturbed; what a worker may not do takes the owner's key, of a member that does nothing else. Only
simulations have such keys to lend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.errors import RejectedError
from tallystick.federation.trial import secret_of
from tallystick.ledger.block import Block, Header, header_hash, transactions_root
from tallystick.ledger.collect.rows import LIVE
from tallystick.ledger.collect.view import TaskView, view_task
from tallystick.ledger.dispatch import WORKERS
from tallystick.ledger.receipt import Receipt, receipts_root
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction

if TYPE_CHECKING:
    from tallystick.federation.simulation import Federation
    from tallystick.ledger.messages import Message
    from tallystick.ledger.transaction import Transaction

__all__ = ["Attempt", "Hands", "live_view", "replica_takes"]

KEYS = ("owner", "worker")  # the roles of a simulated member's keys, by index
SECOND = 1000


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a message that should be refused.

    Attributes
    ----------
    code, slug
        Of the refusal; 0 and empty when it was accepted.
    harmless
        Whether the ledger's state root stayed as it was, after the engine had refused it and
        after a block that holds nothing else.
    """

    code: int
    slug: str
    harmless: bool


class Hands:
    """Signs and submits for any member of a simulated federation."""

    def __init__(self) -> None:
        """Remember no nonces yet."""
        self._nonces: dict[str, int] = {}

    def send(self, federation: Federation, member: str, message: Message) -> bytes:
        """Hand in a message that is meant to be accepted; return the transaction's hash."""
        return federation.engine.submit(self.sign(federation, member, message).wire)

    def attempt(self, federation: Federation, member: str, message: Message) -> Attempt:
        """Submit a message for real, let the engine decide, and see that nothing changed."""
        engine = federation.engine
        tx = self.sign(federation, member, message)
        before = engine.head
        try:
            engine.submit(tx.wire)
        except RejectedError as error:
            return Attempt(error.code, error.slug, engine.state.root == before.state_root)
        engine.seal_pending(before.time + SECOND)
        refused = engine.outcome(tx.hash)
        if not isinstance(refused, RejectedError):
            return Attempt(0, "", harmless=False)
        untouched = engine.state.root == engine.head.state_root == before.state_root
        return Attempt(
            refused.code, refused.slug, untouched and replica_takes(federation, tx, refused.code)
        )

    def sign(self, federation: Federation, member: str, message: Message) -> Transaction:
        """Return the transaction by which a member says something next."""
        engine = federation.engine
        index = int(isinstance(message, WORKERS))
        nonce = 1 + max(self._nonces.get(member, 0), last_nonce(engine.state, member, index))
        self._nonces[member] = nonce
        body = Body(
            sender=member,
            key=index,
            nonce=nonce,
            valid_until=engine.head.time + engine.genesis.limits.validity // 2,
            message=message,
        )
        secret = secret_of(federation.seed, member, KEYS[index])
        return sign_transaction(body, secret, engine.head.chain)


def live_view(federation: Federation) -> TaskView | None:
    """Return the federation's running task as rules see it; `None` without one."""
    state = federation.engine.state
    task = next(iter(state.get(LIVE) or ()), None)
    return None if task is None else view_task(state, task)


def replica_takes(federation: Federation, tx: Transaction, code: int) -> bool:
    """Whether a replica takes a block of this alone that says: this code, and the same state."""
    engine = federation.engine
    head = engine.head
    header = Header(
        chain=head.chain,
        height=head.height + 1,
        time=head.time,
        parent=header_hash(head),
        tx_root=transactions_root([tx.wire]),
        receipts_root=receipts_root([Receipt(code)]),
        state_root=head.state_root,
    )
    try:
        engine.kernel.apply(engine.state, head, Block(header, (tx.wire,)))
    except RejectedError:
        return False
    return True
