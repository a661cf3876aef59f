"""The engine of one: a single process orders, executes and signs.

Fit for simulation and for a pilot; it tolerates no fault of its sealer, and says so. A block is
sealed on demand at a time the caller names, its transactions in the kernel's canonical order.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from tallystick.codec import U8, Record, Signature, decode, encode
from tallystick.consensus.kept import KeptLedger
from tallystick.consensus.pool import DurablePool
from tallystick.crypto import keys
from tallystick.errors import ConfigError, RejectedError, VerificationError, to_keep
from tallystick.ledger.block import header_hash
from tallystick.ledger.contracts import members
from tallystick.ledger.genesis import Genesis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tallystick.consensus.engine import RetryLaterError
    from tallystick.consensus.wire import SealedHeader
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.kernel import Outcome
    from tallystick.ledger.receipt import Receipt
    from tallystick.ledger.state import State
    from tallystick.storage.sqlite import LedgerStore

__all__ = [
    "SOLO_DOMAIN",
    "Solo",
    "SoloSeal",
    "check_seal",
    "check_twin_seal",
    "is_sealed_with",
    "sealing_keys",
]

LOG = logging.getLogger(__name__)
SOLO_DOMAIN = b"solo-seal/1"
MOST_REMEMBERED = 100_000


class SoloSeal(Record):
    """The sealer's signature over a header, and the index of the key that made it."""

    key: U8
    signature: Signature


class Solo(KeptLedger):
    """A ledger whose blocks one member seals.

    Parameters
    ----------
    store
        Where it lives; a new store is founded with ``genesis``.
    genesis
        Where the ledger starts; must be the store's own when it holds one.
    secret
        The sealer's validator key, or its owner key if it has no validator key; without it the
        ledger can only be read.
    most_pending
        How many transactions may wait for a block, in equal shares of the members.

    Raises
    ------
    UnavailableError
        Another process seals this ledger, or the file is damaged.
    """

    def __init__(
        self,
        store: LedgerStore,
        genesis: Genesis | None = None,
        secret: bytes | None = None,
        *,
        most_pending: int | None = None,
    ) -> None:
        """Open the ledger, or found it."""
        if secret is not None:
            store.claim()
        super().__init__(store, genesis)
        self.check_rules()
        self._secret = secret
        self.newest: Block | None = None  # what was sealed last since it was opened
        self._pool = DurablePool(self.kernel, store, most_pending)
        self._outcomes: dict[bytes, Receipt | RejectedError] = {}
        if secret is not None:
            self._outcomes.update(self._pool.take_up(self._state, self._head.time))

    @property
    def refuses_for_good(self) -> bool:
        """See `Engine.refuses_for_good`."""
        return True

    @property
    def now(self) -> int:
        """See `Engine.now`: whoever seals says what time it is."""
        return self._head.time

    @property
    def secret(self) -> bytes:
        """The key that seals."""
        return self._secret or b""

    def rekey(self, secret: bytes) -> None:
        """Seal with another key from now on: the ledger has replaced the one in use."""
        self._secret = secret

    @property
    def pending(self) -> int:
        """Transactions waiting for a block."""
        return len(self._pool)

    def submit(self, wire: bytes) -> bytes:
        """See `Engine.submit`."""
        return self._pool.take(self._state, wire, self._head.time).hash

    def admit(
        self, wires: Sequence[bytes], time: int
    ) -> list[bytes | RejectedError | RetryLaterError]:
        """Submit several at a time in milliseconds; keep what is taken until a block has it.

        Returns
        -------
        list
            For each its hash, or why it is not taken. What was taken survives power loss and is
            waiting again when the ledger is opened.

        Raises
        ------
        UnavailableError
            The disk is full or failed: none of them counts as taken.
        """
        return self._pool.admit(self._state, wires, max(time, self._head.time))

    def seal(self, time: int) -> Outcome:
        """Seal a block of what waits, at ``time`` milliseconds; durable when this returns.

        Transactions beyond a share or a block stay for the next one.
        """
        return self._commit(self._propose(time))

    def seal_pending(self, time: int) -> Outcome | None:
        """Seal as `seal` does, but only if some transaction is accepted; refusals are reported."""
        outcome = self._propose(time)
        if outcome.transactions:
            return self._commit(outcome)
        self._settle(outcome)
        return None

    def _propose(self, time: int) -> Outcome:
        if self._secret is None:
            msg = "this ledger is open for reading: the sealer's key is not here"
            raise ConfigError(msg)
        return self.kernel.propose(self._state, self._head, time, self._pool.waiting())

    def _commit(self, outcome: Outcome) -> Outcome:
        evidence = self._sign(outcome.header)
        self._store.commit(outcome, evidence)
        self._state.commit(outcome.changes)
        self._head = outcome.header
        self.newest = msgspec.structs.replace(outcome.block, evidence=evidence)
        self._settle(outcome)
        return outcome

    def outcome(self, tx_hash: bytes) -> Receipt | RejectedError | None:
        """See `Engine.outcome`."""
        known = self._outcomes.get(tx_hash)
        if known is not None:
            return known
        found = self._store.receipt(tx_hash)
        return None if found is None else found[1]

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """See `Engine.blocks`; a reader sees those up to the head it opened."""
        for block in self._store.blocks(start):
            if block.header.height > self._head.height:
                return
            yield block

    def leaves(self, task: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """See `Engine.leaves`; a reader sees those up to the head it opened."""
        for height, leaf in self._store.leaves(task, start):
            if height > self._head.height:
                return
            yield height, leaf

    def _sign(self, header: Header) -> bytes:
        public = keys.public_of(self._secret or b"")
        sealer = self.kernel.genesis.sealer
        row = self._state.get(members.MEMBERS, sealer)
        for index in range(0 if row is None else len(row.keys)):
            key = _sealing_key(self._state, sealer, index)
            if key is not None and key.public == public:
                signature = keys.sign(self._secret or b"", SOLO_DOMAIN, header_hash(header))
                return encode(SoloSeal(index, signature))
        msg = f"the key is none that '{sealer}' seals blocks with"
        raise ConfigError(msg, hint="its validator key does, or its owner key where it has none")

    def _settle(self, outcome: Outcome) -> None:
        for tx, receipt in zip(outcome.transactions, outcome.receipts, strict=True):
            self._remember(tx.hash, receipt)
        refusals = outcome.refusals
        for tx_hash, error in refusals.items():
            self._remember(tx_hash, to_keep(error))
        for faulty in outcome.faulty:
            LOG.error("a transaction was left out, our bug: %s", faulty.error)
        self._pool.settle((tx.hash for tx in outcome.transactions), refusals)

    def _remember(self, tx_hash: bytes, result: Receipt | RejectedError) -> None:
        if len(self._outcomes) > MOST_REMEMBERED:
            del self._outcomes[next(iter(self._outcomes))]  # the oldest; nobody waits for it
        self._outcomes[tx_hash] = result


def check_seal(state: State, genesis: Genesis, header: Header, evidence: bytes) -> None:
    """Check the sealer's signature on ``header``, against the state before it.

    Raises
    ------
    DecodeError
        The evidence is no seal.
    VerificationError
        The key is not the sealer's, or the signature does not verify.
    """
    seal = decode(SoloSeal, evidence)
    key = _sealing_key(state, genesis.sealer, seal.key)
    if key is None:
        who = f"'{genesis.sealer}' does not have for it"
        msg = f"block {header.height} is sealed with a key that {who}"
        raise VerificationError(msg)
    keys.verify(key.public, SOLO_DOMAIN, header_hash(header), seal.signature)


def check_twin_seal(
    state: State, genesis: Genesis, known: SealedHeader, twin: SealedHeader
) -> None:
    """Check that the sealer also signed ``twin``, a header of the same height as ``known``.

    By a key that seals now, or by the one that ``known`` is sealed with: keys are replaced, and
    what an old one signed after its time says nothing of its owner.

    Raises
    ------
    DecodeError, VerificationError
        As `check_seal`.
    """
    seal, other = decode(SoloSeal, known.evidence), decode(SoloSeal, twin.evidence)
    row = state.get(members.MEMBERS, genesis.sealer)
    if seal.key != other.key or row is None or seal.key >= len(row.keys):
        check_seal(state, genesis, twin.header, twin.evidence)
        return
    public = row.keys[seal.key].public
    keys.verify(public, SOLO_DOMAIN, header_hash(twin.header), other.signature)


def is_sealed_with(publics: Iterable[bytes], header: Header, evidence: bytes) -> bool:
    """Return whether the evidence is a seal over the header by one of the keys.

    Raises
    ------
    DecodeError
        It is no seal.
    """
    seal, signed = decode(SoloSeal, evidence), header_hash(header)
    return any(keys.is_valid(each, SOLO_DOMAIN, signed, seal.signature) for each in publics)


def sealing_keys(state: State, sealer: str) -> tuple[bytes, ...]:
    """Return the public keys that the sealer may seal with now."""
    row = state.get(members.MEMBERS, sealer)
    found = [_sealing_key(state, sealer, index) for index in range(len(row.keys) if row else 0)]
    return tuple(key.public for key in found if key is not None)


def _sealing_key(state: State, sealer: str, index: int) -> members.KeyRow | None:
    """Return the sealer's key if it is valid now and of the role that seals."""
    row, key = state.get(members.MEMBERS, sealer), members.active_key(state, sealer, index)
    if row is None or key is None:
        return None
    has_validator = any(each.role == "validator" for each in row.keys)
    return key if key.role == ("validator" if has_validator else "owner") else None
