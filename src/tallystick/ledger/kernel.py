"""The replicated state machine: ``apply(state, block)`` and nothing else changes state.

The core is a function. Handlers run on scratch state; only a rejection becomes a receipt. Any
other exception is our bug: the transaction is left out of proposals and no block that holds it is
accepted, so a bug cannot stop the chain. Due work runs per task in a savepoint.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tallystick.crypto.hashes import sha256
from tallystick.errors import RejectedError, TallyError
from tallystick.ledger.block import Block, Header, genesis_header, header_hash, transactions_root
from tallystick.ledger.collect.installed import UninstalledRuleError
from tallystick.ledger.context import Context
from tallystick.ledger.contracts import accounts, changes, members, validators
from tallystick.ledger.contracts.tasks import advance_tasks
from tallystick.ledger.dispatch import handle
from tallystick.ledger.genesis import Genesis, engine_chain_id, genesis_hash
from tallystick.ledger.receipt import Event, Receipt, receipts_root
from tallystick.ledger.state import State
from tallystick.ledger.transaction import (
    InvalidTransactionError,
    Transaction,
    check_transaction,
    parse_transaction,
    spend_nonce,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "KNOWN",
    "PROTOCOL",
    "Faulty",
    "FaultyTransactionError",
    "InvalidBlockError",
    "Kernel",
    "Outcome",
    "ShareExceededError",
    "UnsupportedProtocolError",
]

PROTOCOL = 1
MOST_FAILED = 64  # of one sender, for one block
KNOWN = frozenset({PROTOCOL})  # versions whose blocks this program executes


class InvalidBlockError(RejectedError):
    """The block does not follow from its parent, or claims what its transactions do not do."""

    slug: ClassVar[str] = "invalid-block"
    code: ClassVar[int] = 200


class ShareExceededError(InvalidTransactionError):
    """The sender's equal share of a block is used up; retry in the next one."""

    slug: ClassVar[str] = "share-exceeded"
    code: ClassVar[int] = 110


class FaultyTransactionError(InvalidTransactionError):
    """A handler raised something unforeseen: our bug. The transaction enters no block."""

    slug: ClassVar[str] = "faulty-transaction"
    code: ClassVar[int] = 111


class UnsupportedProtocolError(TallyError):
    """The network runs a protocol version that this program does not know: upgrade it."""

    slug: ClassVar[str] = "unsupported-protocol"


@dataclass(frozen=True, slots=True)
class Faulty:
    """A transaction that made a handler raise something unforeseen."""

    transaction: Transaction
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a block does: its receipts, the changed rows, and the leaves it adds to task logs.

    ``validator_updates`` is what CometBFT has to be told: changed public keys and their power.
    """

    header: Header
    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]
    changes: dict[bytes, bytes | None]
    logged: tuple[tuple[bytes, bytes], ...]
    events: tuple[Event, ...] = ()
    refused: tuple[tuple[Transaction, RejectedError], ...] = ()
    faulty: tuple[Faulty, ...] = field(default=())
    validator_updates: tuple[tuple[bytes, int], ...] = ()

    @property
    def block(self) -> Block:
        """The block without evidence."""
        return Block(self.header, tuple(tx.wire for tx in self.transactions))

    @property
    def refusals(self) -> dict[bytes, RejectedError]:
        """Why those that were left out can be in no block after this, by their hash."""
        found: dict[bytes, RejectedError] = {
            tx.hash: error
            for tx, error in self.refused
            if not isinstance(error, ShareExceededError)
        }
        for faulty in self.faulty:
            found[faulty.transaction.hash] = FaultyTransactionError(faulty.error)
        return found


class Kernel:
    """The transition function of one ledger."""

    def __init__(self, genesis: Genesis) -> None:
        """Bind the function to a genesis."""
        self.genesis = genesis
        self.chain = genesis_hash(genesis)
        self.limits = genesis.limits
        self.chain_id = engine_chain_id(genesis) if genesis.engine == "cometbft" else ""

    def faults(self, state: State) -> int:
        """Return how many of those who order the block after ``state`` may fail or lie."""
        match self.genesis.engine:
            case "cometbft":
                return validators.faults_of(len(validators.seats(state)))
            case "pow":
                return validators.faults_of(len(self.genesis.founders))
            case "solo":
                return 0

    def found(self) -> tuple[State, Header]:
        """Return the state and header of height 0."""
        state = State()
        members.found(state, self.genesis)
        accounts.found(state, self.genesis)
        validators.found(state, self.genesis)
        state.commit(state.changes())
        return state, genesis_header(self.chain, self.genesis.time, state.root)

    def check(self, state: State, wire: bytes, time: int) -> Transaction:
        """Check a transaction's form and envelope before it is admitted.

        Raises
        ------
        InvalidTransactionError
            It can be in no block after ``state`` at ``time``.
        """
        tx = self.parse(wire)
        self.check_envelope(state, tx, time)
        return tx

    def check_envelope(self, state: State, tx: Transaction, time: int) -> None:
        """Check the envelope of a transaction whose form is right; raises as `check`."""
        check_transaction(state, tx, time, self.chain, self.limits)

    def parse(self, wire: bytes) -> Transaction:
        """Decode a transaction; raises as `parse_transaction`."""
        return parse_transaction(wire, self.limits)

    def check_protocol(self, state: State) -> None:
        """Refuse to execute what comes after a state under rules that are not known here.

        Raises
        ------
        UnsupportedProtocolError
            The protocol version in force is none of `KNOWN`.
        """
        version = members.protocol(state)
        if version not in KNOWN:
            known = ", ".join(map(str, sorted(KNOWN)))
            msg = f"the network runs protocol {version}; this program knows {known}"
            raise UnsupportedProtocolError(msg, hint="upgrade tallystick on this node")

    def propose(
        self, state: State, parent: Header, time: int, candidates: Iterable[Transaction]
    ) -> Outcome:
        """Execute ``candidates`` in canonical order and keep those that succeed.

        Rejected ones are reported and leave no trace, unless the attempt is to be recorded; so do
        those that make a handler raise anything unforeseen. Work for nothing has a bound: after
        `MOST_FAILED` of one sender its others wait, as they do behind one that waits.
        """
        run = _Run(self, state, parent, time)
        chosen, waiting = self._fair(parent, tuple(candidates))
        run.refused.extend((tx, ShareExceededError()) for tx in waiting)
        held_back: set[tuple[str, int]] = set()
        failed: Counter[str] = Counter()
        for tx in sorted(chosen, key=lambda tx: tx.order):
            if failed[tx.body.sender] >= MOST_FAILED or tx.order[:2] in held_back:
                run.refused.append((tx, ShareExceededError()))
                continue
            try:
                run.execute(tx)
            except ShareExceededError as error:
                held_back.add(tx.order[:2])
                run.refused.append((tx, error))
            except RejectedError as error:
                failed[tx.body.sender] += 1
                run.refused.append((tx, error))
            except Exception as error:  # noqa: BLE001 - a bug of ours must not stop the chain
                run.faulty.append(Faulty(tx, f"{type(error).__name__}: {error}"))
        return run.finish()

    def apply(self, state: State, parent: Header, block: Block) -> Outcome:
        """Execute a block somebody else proposed.

        A transaction that is refused inside a block leaves a receipt and changes nothing, but for
        its nonce where the attempt is to be recorded.

        Raises
        ------
        InvalidBlockError
            The header does not follow from the parent or does not fit what was executed, an
            envelope is invalid, or a transaction makes a handler raise something unforeseen.
        UninstalledRuleError
            As `execute`.
        """
        header = block.header
        self._check_header(parent, header)
        outcome = self.execute(state, parent, header.time, block.transactions)
        if outcome.header != header:
            msg = f"the roots of height {header.height} do not follow from its transactions"
            raise InvalidBlockError(msg)
        return outcome

    def execute(
        self,
        state: State,
        parent: Header,
        time: int,
        transactions: Iterable[bytes],
        parse: Callable[[bytes], Transaction] | None = None,
    ) -> Outcome:
        """Execute what somebody else proposed to follow ``parent``, exactly and in order.

        Parameters
        ----------
        parse
            Decodes as `parse` does, for whoever has decoded most of them before.

        Raises
        ------
        InvalidBlockError
            As `apply`, but for the header: this makes it.
        UninstalledRuleError
            A transaction names a rule that is not here: the block may be in order elsewhere.
        """
        run = _Run(self, state, parent, time)
        last: tuple[str, int, int] | None = None
        decoded = parse or self.parse
        for wire in transactions:
            try:
                tx = decoded(wire)
                _check_order(last, tx)
                last = tx.order
                run.execute(tx, keep_refused=True)
            except UninstalledRuleError:
                raise
            except InvalidTransactionError as error:
                msg = f"holds a transaction that is refused before execution: {error}"
                raise InvalidBlockError(msg) from error
            except RejectedError:
                raise
            except Exception as error:
                msg = f"holds a transaction that faults: {type(error).__name__}"
                raise InvalidBlockError(msg) from error
        return run.finish()

    def _fair(
        self, parent: Header, candidates: tuple[Transaction, ...]
    ) -> tuple[list[Transaction], list[Transaction]]:
        """Choose what fits a block: one transaction a sender at a time, in a changing order."""
        if sum(len(tx.wire) for tx in candidates) <= self.limits.block_bytes:
            return list(candidates), []
        queues: dict[str, list[Transaction]] = {}
        for tx in sorted(candidates, key=lambda tx: tx.order, reverse=True):
            queues.setdefault(tx.body.sender, []).append(tx)
        seed = header_hash(parent)
        order = sorted(queues, key=lambda sender: sha256("share", seed, sender.encode()))
        chosen: list[Transaction] = []
        left = self.limits.block_bytes
        while order:
            for sender in tuple(order):
                size = len(queues[sender][-1].wire)
                if size > left:
                    order.remove(sender)
                    continue
                left -= size
                chosen.append(queues[sender].pop())
                if not queues[sender]:
                    order.remove(sender)
        return chosen, [tx for queue in queues.values() for tx in queue]

    def _check_header(self, parent: Header, header: Header) -> None:
        problem = ""
        if header.chain != self.chain:
            problem = "belongs to another ledger"
        elif header.height != parent.height + 1 or header.parent != header_hash(parent):
            problem = f"does not follow height {parent.height}"
        elif header.time < parent.time:
            problem = "is older than its parent"
        if problem:
            raise InvalidBlockError(problem)


def _check_order(last: tuple[str, int, int] | None, tx: Transaction) -> None:
    if last is not None and tx.order <= last:
        msg = "its transactions are not in canonical order"
        raise InvalidBlockError(msg)


class _Run:
    """One block being executed on scratch state."""

    def __init__(self, kernel: Kernel, state: State, parent: Header, time: int) -> None:
        self.kernel = kernel
        self.state = state.scratch()
        self.base = state
        self.parent = parent
        self.time = max(time, parent.time)
        self.height = parent.height + 1
        self.done: list[Transaction] = []
        self.receipts: list[Receipt] = []
        self.refused: list[tuple[Transaction, RejectedError]] = []
        self.faulty: list[Faulty] = []
        self.used: dict[str, int] = {}
        self.size = 0
        self.share = kernel.limits.block_bytes // max(1, len(members.active_members(state)))
        kernel.check_protocol(state)

    def execute(self, tx: Transaction, *, keep_refused: bool = False) -> None:
        """Run one transaction; with ``keep_refused`` a refusal leaves a receipt."""
        kernel, sender = self.kernel, tx.body.sender
        kernel.check_envelope(self.state, tx, self.time)
        used = self.used.get(sender, 0) + len(tx.wire)
        if used > max(self.share, kernel.limits.transaction_bytes):
            raise ShareExceededError
        if self.size + len(tx.wire) > kernel.limits.block_bytes:
            raise ShareExceededError
        scratch = self.state.scratch()
        try:
            events = handle(scratch, self._context(tx), tx.body.message)
        except UninstalledRuleError:
            raise
        except RejectedError as error:
            if not keep_refused and not error.recorded:
                raise
            receipt = Receipt(error.code)
            scratch = self.state.scratch()
            if error.recorded:
                spend_nonce(scratch, tx)
        else:
            spend_nonce(scratch, tx)
            scratch.encode()
            receipt = Receipt(0, events)
        scratch.keep()
        self.used[sender] = used
        self.size += len(tx.wire)
        self.done.append(tx)
        self.receipts.append(receipt)

    def finish(self) -> Outcome:
        """Do the due work and compute the roots."""
        events = list(advance_tasks(self.state, self.time, self.parent.time))
        voted = changes.apply_due(self.state, self.height)
        events.extend(accounts.grant(self.state, grant) for grant in voted)
        logged = tuple(self.state.logged)
        self.state.logged = []
        rows = self.state.changes()
        before, after = map(validators.validator_set, (self.base, self.state))
        header = Header(
            chain=self.kernel.chain,
            height=self.height,
            time=self.time,
            parent=header_hash(self.parent),
            tx_root=transactions_root([tx.wire for tx in self.done]),
            receipts_root=receipts_root(self.receipts),
            state_root=self.base.root_with(rows, self.state),
        )
        return Outcome(
            header=header,
            transactions=tuple(self.done),
            receipts=tuple(self.receipts),
            changes=rows,
            logged=logged,
            events=tuple(events),
            refused=tuple(self.refused),
            faulty=tuple(self.faulty),
            validator_updates=tuple(validators.validator_updates(before, after)),
        )

    def _context(self, tx: Transaction) -> Context:
        body = tx.body
        key = members.active_key(self.state, body.sender, body.key)
        return Context(
            sender=body.sender,
            key=body.key,
            key_role="" if key is None else key.role,
            time=self.time,
            parent_time=self.parent.time,
            height=self.height,
            genesis=self.kernel.chain,
            wire=tx.wire,
            sealer=self.kernel.genesis.sealer if self.kernel.genesis.engine == "solo" else "",
            trial=self.kernel.genesis.trial,
            faults=self.kernel.faults(self.base),
            chain_id=self.kernel.chain_id,
        )
