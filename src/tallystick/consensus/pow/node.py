"""One miner's node: it keeps every branch, executes the longest, and shows what is deep enough.

What it shows as an engine lies ``confirmations`` blocks below its tip. Members speak about that
state alone, so a reveal is sent only once the seal it opens is so deep, and no branch that dies
afterwards has shown it. A longer branch is taken by rolling the state back to where it left the
present one; the transactions of the orphaned blocks wait again, and those that were refused there
get another chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import encode
from tallystick.consensus.pow.puzzle import check_work, solve
from tallystick.errors import RejectedError, TallyError
from tallystick.ledger.block import Block, header_hash
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.transaction import parse_transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.ledger.block import Header
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.kernel import Outcome
    from tallystick.ledger.receipt import Receipt
    from tallystick.ledger.state import State
    from tallystick.ledger.transaction import Transaction

__all__ = ["BrokenFinalityError", "Node"]


class BrokenFinalityError(TallyError):
    """A longer branch leaves the present one below what was final: too few confirmations."""

    slug: ClassVar[str] = "broken-finality"


@dataclass(slots=True)
class _Link:
    """A block whose parent is known; ``bad`` if nothing may follow it."""

    block: Block
    bad: bool


@dataclass(frozen=True, slots=True)
class _Executed:
    """A block of the present branch, and what takes it back."""

    hash: bytes
    block: Block
    outcome: Outcome
    undo: dict[bytes, bytes | None]


class Node:
    """A miner's ledger; as an engine it offers what is final.

    Parameters
    ----------
    name
        Whom its blocks name as their miner.
    confirmations
        How many blocks lie on top of the newest final one.
    tries
        How many nonces a block's puzzle takes on average: the same on every node of a network.

    Attributes
    ----------
    reorganisations
        How many blocks each reorganisation took back, in order.
    outbox
        Transactions handed in here that the network has to carry to the other nodes.
    """

    def __init__(self, name: str, genesis: Genesis, *, confirmations: int, tries: int = 1) -> None:
        """Found the ledger."""
        self.name = name
        self.genesis = genesis
        self.confirmations = confirmations
        self.tries = tries
        self.kernel = Kernel(genesis)
        self.tip_state, self._first = self.kernel.found()
        self._final, _ = self.kernel.found()
        self._final_height = 0
        self._chain: list[_Executed] = []  # the present branch, without genesis
        self._links: dict[bytes, _Link] = {}
        self._orphans: dict[bytes, list[Block]] = {}
        self._pool: dict[bytes, Transaction] = {}
        self._included: dict[bytes, tuple[int, Receipt]] = {}
        self._refused: dict[bytes, tuple[int, Transaction, RejectedError]] = {}
        self.reorganisations: list[int] = []
        self.outbox: list[bytes] = []

    # --- as an engine: what is final -------------------------------------------------------------

    @property
    def refuses_for_good(self) -> bool:
        """See `Engine.refuses_for_good`."""
        return True

    @property
    def head(self) -> Header:
        """See `Engine.head`."""
        return self._header(self._final_height)

    @property
    def now(self) -> int:
        """See `Engine.now`."""
        return self.head.time

    @property
    def state(self) -> State:
        """See `Engine.state`."""
        return self._final

    def submit(self, wire: bytes) -> bytes:
        """See `Engine.submit`; refused is what cannot follow this node's tip.

        What is known already is taken again without a word: on the tip it may be, and not final.
        """
        tx = parse_transaction(wire, self.kernel.limits)
        if not self._knows(tx):
            self.kernel.check(self.tip_state, wire, self.tip.time)
            self._pool[tx.hash] = tx
            self.outbox.append(wire)
        return tx.hash

    def outcome(self, tx_hash: bytes) -> Receipt | RejectedError | None:
        """See `Engine.outcome`."""
        height, result = self._included.get(tx_hash, (0, None))
        if result is None and tx_hash in self._refused:
            height, _, result = self._refused[tx_hash]
        return result if height <= self._final_height else None

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Engine.blocks`."""
        return iter([each.block for each in self._chain[max(0, start - 1) : self._final_height]])

    def leaves(self, task: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """See `Engine.leaves`."""
        found = [
            (each.block.header.height, leaf)
            for each in self._chain[: self._final_height]
            for name, leaf in each.outcome.logged
            if name == task
        ]
        return iter(found[start:])

    # --- as a miner's node: tip, pool and branches -----------------------------------------------

    @property
    def tip(self) -> Header:
        """The newest header of the longest branch; of several the one that came first."""
        return self._header(len(self._chain))

    @property
    def branch(self) -> tuple[Block, ...]:
        """The present branch from height 1 to the tip."""
        return tuple(each.block for each in self._chain)

    @property
    def pool(self) -> tuple[Transaction, ...]:
        """The transactions that wait for a block on this branch."""
        return tuple(self._pool.values())

    @property
    def orphaned(self) -> int:
        """How many blocks this node knows that are not on its branch."""
        return len(self._links) - len(self._chain)

    def hear(self, wire: bytes) -> None:
        """Take a transaction that was handed in elsewhere; one that nobody could is dropped."""
        try:
            tx = parse_transaction(wire, self.kernel.limits)
        except RejectedError:
            return
        if not self._knows(tx):
            self._pool[tx.hash] = tx

    def mine(self, time: int) -> tuple[Block, int]:
        """Return a block of what waits, its puzzle solved, and how many nonces that took."""
        outcome = self._propose(time)
        work, tried = solve(outcome.header, self.name, self.tries)
        block = outcome.block
        return Block(block.header, block.transactions, encode(work)), tried

    def receive(self, block: Block) -> bool:
        """Take a block, mined here or elsewhere; return whether the tip has changed.

        Raises
        ------
        VerificationError, DecodeError
            Its puzzle is not solved.
        BrokenFinalityError
            It makes a branch the longest that leaves the present one below what is final.
        """
        check_work(block.header, block.evidence, self.tries)
        before = header_hash(self.tip)
        waiting = [block]
        while waiting:
            waiting += self._place(waiting.pop())
        if header_hash(self.tip) == before:
            return False
        if self._pool:
            self._propose(self.tip.time)  # so that who waits here learns of a refusal
        return True

    def _header(self, height: int) -> Header:
        return self._chain[height - 1].block.header if height else self._first

    def _knows(self, tx: Transaction) -> bool:
        return tx.hash in self._included or tx.hash in self._refused or tx.hash in self._pool

    def _propose(self, time: int) -> Outcome:
        """Execute what waits on scratch state; what is refused waits no longer on this branch."""
        outcome = self.kernel.propose(self.tip_state, self.tip, time, self._pool.values())
        for tx_hash, error in outcome.refusals.items():
            self._refused[tx_hash] = (self.tip.height, self._pool.pop(tx_hash), error)
        return outcome

    def _place(self, block: Block) -> list[Block]:
        """Put a block where it belongs; return those that waited for it."""
        name, parent = header_hash(block.header), block.header.parent
        if name in self._links:
            return []
        if parent not in self._links and parent != header_hash(self._first):
            self._orphans.setdefault(parent, []).append(block)
            return []
        link = self._links.get(parent)
        height = 0 if link is None else link.block.header.height
        bad = (link is not None and link.bad) or block.header.height != height + 1
        self._links[name] = _Link(block, bad=bad)
        if not bad and block.header.height > self.tip.height:
            self._switch(name)
        return self._orphans.pop(name, [])

    def _switch(self, name: bytes) -> None:
        """Make the branch that ends in ``name`` the present one, if its blocks are valid."""
        branch = [name]
        while not self._is_present(parent := self._links[branch[-1]].block.header.parent):
            branch.append(parent)
        broken = [at for at, each in enumerate(branch) if self._links[each].bad]
        if broken:  # nothing on top of a bad block is followed
            self._condemn(branch[: broken[-1]])
            return
        fork = self._links[branch[-1]].block.header.height - 1
        if fork < self._final_height:
            msg = f"a branch that leaves at height {fork} overtook what was final"
            raise BrokenFinalityError(msg, hint="ask for more confirmations, or slower blocks")
        old = self._chain[fork:]
        self._roll_back(fork)
        for at, each in reversed(tuple(enumerate(branch))):
            if not self._execute(each):
                self._condemn(branch[:at])
                self._roll_back(fork)
                for known in old:
                    self._execute(known.hash)
                return
        if old:
            self.reorganisations.append(len(old))
        self._finalise()

    def _condemn(self, names: list[bytes]) -> None:
        for name in names:
            self._links[name].bad = True

    def _is_present(self, name: bytes) -> bool:
        link = self._links.get(name)
        if link is None:
            return True  # genesis
        height = link.block.header.height
        return height <= len(self._chain) and self._chain[height - 1].hash == name

    def _execute(self, name: bytes) -> bool:
        """Execute a block on the tip; one that claims what it does not do stays out for good."""
        link = self._links[name]
        try:
            outcome = self.kernel.apply(self.tip_state, self.tip, link.block)
        except RejectedError:
            link.bad = True
            return False
        undo = self.tip_state.inverse(outcome.changes)
        self.tip_state.commit(outcome.changes)
        self._chain.append(_Executed(name, link.block, outcome, undo))
        for tx, receipt in zip(outcome.transactions, outcome.receipts, strict=True):
            self._pool.pop(tx.hash, None)
            self._refused.pop(tx.hash, None)
            self._included[tx.hash] = (outcome.header.height, receipt)
        return True

    def _roll_back(self, height: int) -> None:
        """Take back every block above ``height``; what it held waits again."""
        while len(self._chain) > height:
            last = self._chain.pop()
            self.tip_state.commit(last.undo)
            for tx in last.outcome.transactions:
                del self._included[tx.hash]
                self._pool[tx.hash] = tx
        for name, (at, tx, _) in tuple(self._refused.items()):
            if at > height:
                del self._refused[name]
                self._pool[name] = tx

    def _finalise(self) -> None:
        """Show what has become deep enough."""
        while self._final_height < len(self._chain) - self.confirmations:
            self._final.commit(self._chain[self._final_height].outcome.changes)
            self._final_height += 1
