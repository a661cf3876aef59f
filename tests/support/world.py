"""A small ledger: founders from seeds, blocks on demand, every block audited.

After each block the money in the rows is counted again, the block is applied to a second state
that is rebuilt from its rows (as after a restart), and the task logs are hashed from their leaves.
"""

from __future__ import annotations

from tallystick.codec import decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.crypto.merkle_list import list_root
from tallystick.ledger import kernel as kernel_module
from tallystick.ledger.collect.rows import LIVE, STAGES, TASKS
from tallystick.ledger.collect.view import view_task
from tallystick.ledger.contracts import accounts, registry
from tallystick.ledger.contracts.members import key_proof
from tallystick.ledger.genesis import Founder, Genesis, Key, Limits
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import (
    DeclareBudget,
    ProposeChange,
    RegisterDataset,
    RotateKey,
    Vote,
)
from tallystick.ledger.state import state_from_rows
from tallystick.ledger.transaction import Body, sign_transaction

MEMBERS = ("alpha", "bravo", "charlie", "delta")
START = 1_000_000
ENDLESS = 2000  # blocks: no history in these tests needs a tenth of it
VALIDITY = 24 * 3600 * 1000


def secret_of(name, generation=0):
    """Return a member's secret key of a generation."""
    return keys.secret_from_seed(f"{name}/{generation}".encode())


def public_of(name, generation=0):
    """Return a member's public key of a generation."""
    return keys.public_of(secret_of(name, generation))


def make_genesis(names=MEMBERS, micros=10_000_000, **fields):
    """Return a genesis with one owner key a member."""
    founders = tuple(
        Founder(name, (Key(public_of(name), "owner"),), micros) for name in sorted(names)
    )
    given = {"name": "t", "time": START, "engine": "solo", "sealer": min(names), "trial": True}
    return Genesis(**{"founders": founders, **given, **fields})


class World:
    """A ledger being driven by hand.

    ``tolerant`` lets transactions fault and tasks be suspended, which is an error otherwise.
    """

    def __init__(self, names=MEMBERS, *, tolerant=False, audited=True, genesis=None, **fields):
        self.genesis = genesis or make_genesis(names, **fields)
        self.kernel = Kernel(self.genesis)
        self.state, self.head = self.kernel.found()
        self.copy, self.copy_head = self.kernel.found()
        self.tolerant, self.audited = tolerant, audited
        self.pending = []
        self.outcomes = []
        self.leaves = {}
        self.lost = set()  # roots of artefacts that no holder can fetch
        self.generations = dict.fromkeys(names, 0)
        self.granted = 0
        self._nonces = {}

    @property
    def now(self):
        return self.head.time

    def sign(self, member, message, *, key=0, nonce=None, until=None, secret=None, chain=None):
        """Return ``message`` signed by ``member``; every part of the envelope can be wrong."""
        if nonce is None:
            nonce = self._nonces.get((member, key), 0) + 1
            self._nonces[member, key] = nonce
        until = self.now + VALIDITY // 2 if until is None else until
        secret = secret or secret_of(member, self.generations.get(member, 0))
        return sign_transaction(
            Body(member, key, nonce, until, message), secret, chain or self.kernel.chain
        )

    def send(self, member, message, **envelope):
        """Put a transaction into the next block's candidates."""
        envelope.setdefault("key", self.generations.get(member, 0))
        tx = self.sign(member, message, **envelope)
        self.pending.append(tx)
        return tx

    def seal(self, dt=1000):
        """Seal a block of what waits, ``dt`` milliseconds after the last one."""
        assert len(self.outcomes) < ENDLESS, "nothing ends here"
        outcome = self.kernel.propose(self.state, self.head, self.now + dt, self.pending)
        self.pending = []
        if not self.tolerant:
            assert not outcome.faulty, outcome.faulty
            assert not [event for event in outcome.events if event.kind == "suspended"]
        self.state.commit(outcome.changes)
        self.head = outcome.header
        self.outcomes.append(outcome)
        for task, leaf in outcome.logged:
            self.leaves.setdefault(task, []).append(leaf)
        if self.audited:
            self.audit(outcome)
        return outcome

    def refusal(self, member, message, dt=1000, **envelope):
        """Send one message in a block of its own; return why it was refused, or `None`."""
        tx = self.send(member, message, **envelope)
        outcome = self.seal(dt)
        assert tx in outcome.transactions or any(tx is found for found, _ in outcome.refused)
        return next((error for found, error in outcome.refused if found is tx), None)

    def refused(self, member, message, **envelope):
        """As `refusal`, for what must be refused and leave no trace in the state."""
        before = self.state.root
        error = self.refusal(member, message, **envelope)
        assert error is not None
        assert self.state.root == before
        return error

    def accept(self, member, message, dt=1000, **envelope):
        """Send one message in a block of its own, which must be taken."""
        refused = self.refusal(member, message, dt, **envelope)
        assert refused is None, refused
        return self.outcomes[-1]

    def forced(self, *transactions, dt=1000):
        """Apply a block that holds these transactions, refused ones too, on scratch state.

        Returns the receipts and the rows the block would change.
        """
        run = kernel_module._Run(self.kernel, self.state, self.head, self.now + dt)
        for tx in transactions:
            run.execute(tx, keep_refused=True)
        outcome = run.finish()
        copy = state_from_rows(dict(self.state.rows()))
        assert self.kernel.apply(copy, self.head, outcome.block).header == outcome.header
        return outcome

    def declare(self, member, epsilon_nanos, delta_picos=10**8):
        """Let a member's data set be registered, with a budget unless it has one; return it."""
        root = digest("data", member)
        if registry.dataset(self.state, root) is None:
            self.accept(member, RegisterDataset(root, 10))
            self.accept(member, DeclareBudget(root, epsilon_nanos, delta_picos))
        return root

    def vote(self, change, proposer=None, voters=None):
        """Propose a change and let just enough members vote for it, in one block each."""
        names = sorted(self.generations) if voters is None else voters
        self.accept(proposer or names[0], ProposeChange(change))
        proposal = sha256("proposal", encode(change))
        for name in names[1 : 1 + 2 * len(names) // 3]:
            self.send(name, Vote(proposal))
        return self.seal()

    def view(self, task):
        return view_task(self.state, task)

    def row(self, task):
        return self.state.get(TASKS, task)

    def stage(self, key):
        return self.state.get(STAGES, key)

    def money(self):
        """Return where all money is, counted from the rows."""
        found = {"balances": 0, "escrow": 0, "bonds": 0}
        for key, value in self.state.rows():
            if key[0] == accounts.BALANCES.prefix:
                found["balances"] += decode(int, value)
            elif key[0] == accounts.ESCROW.prefix:
                found["escrow"] += decode(int, value)
            elif key[0] == accounts.BONDS.prefix:
                bond = decode(accounts.Bond, value)
                found["bonds"] += bond.round + bond.standing
        return found

    def start_audit(self):
        """Audit from here on: the copy is rebuilt from the rows as they are."""
        self.copy, self.copy_head = state_from_rows(dict(self.state.rows())), self.head
        self.audited = True

    def audit(self, outcome):
        """Check what must hold after every block."""
        self._audit_money(outcome)
        self._audit_replay(outcome)
        self._audit_logs()

    def _audit_money(self, outcome):
        totals, counted = accounts.totals(self.state), self.money()
        self.granted += sum(event.amount for event in outcome.events if event.kind == "grant")
        founded = sum(founder.micros for founder in self.genesis.founders)
        assert counted == {
            "balances": totals.balances,
            "escrow": totals.escrow,
            "bonds": totals.bonds,
        }
        assert totals.supply == founded + self.granted
        assert sum(counted.values()) + totals.sink == totals.supply

    def _audit_replay(self, outcome):
        rebuilt = state_from_rows(dict(self.copy.rows()))
        again = self.kernel.apply(rebuilt, self.copy_head, outcome.block)
        rebuilt.commit(again.changes)
        assert again.header == outcome.header
        assert again.receipts == outcome.receipts
        assert again.logged == outcome.logged
        self.copy, self.copy_head = rebuilt, again.header

    def _audit_logs(self):
        for task in self.state.get(LIVE) or ():
            log, leaves = self.row(task).log, self.leaves[task]
            assert (log.size, log.root) == (len(leaves), list_root(leaves))


def rotation(world, name, generation=1, role="owner", owner=None, secret=None):
    """Return the message by which a member replaces its key of a role."""
    public = public_of(name, generation)
    proof = key_proof(
        secret or secret_of(name, generation), owner or name, public, world.kernel.chain
    )
    return RotateKey(Key(public, role), proof)


def digest(*words):
    """Return 32 bytes that stand for ``words``."""
    return sha256("test", *(str(word).encode() for word in words))


__all__ = [
    "MEMBERS",
    "START",
    "Limits",
    "World",
    "digest",
    "make_genesis",
    "public_of",
    "rotation",
    "secret_of",
]
