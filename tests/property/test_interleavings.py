"""Two replicas, any order of what CometBFT asks and of crashes: one history, and nothing lost.

The kernel alone executes what was decided and says what both have to be.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.validators import Validators
from support.world import MEMBERS

from tallystick.consensus.cometbft.replica import Replica
from tallystick.errors import RejectedError
from tallystick.ledger.messages import Transfer
from tallystick.storage.sqlite import LedgerStore

BOTH = st.sampled_from((0, 1))
NAMES = st.sampled_from(MEMBERS)
# Where a node may end while a block is decided.
CRASHES = st.sampled_from(("", "", "", "before", "finalized", "committed"))
HUGE = 2**60


class Node:
    """A replica, and the mempool of the CometBFT beside it; what a crash leaves is the file."""

    def __init__(self, path, genesis, clock):
        self.path, self.genesis, self.clock = path, genesis, clock
        self.mempool = {}
        self.replica = None
        self.open()

    def open(self):
        self.mempool = {}
        self.replica = Replica(
            LedgerStore(self.path), self.genesis, most_pending=20, clock=self.clock
        )

    def crash(self):
        self.replica.close()
        self.open()

    def check(self, wire):
        if self.replica.check(wire) is None:
            self.mempool[wire] = None

    def recheck(self):
        for wire in list(self.mempool):
            if self.replica.check(wire, again=True) is not None:
                del self.mempool[wire]


class Interleavings(RuleBasedStateMachine):
    """See the module."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="interleavings-"))
        self.world = Validators(audited=False)  # signs and executes alone
        self.time = self.world.now
        self.nodes = [
            Node(self.folder / f"{name}.sqlite", self.world.genesis, lambda: self.time)
            for name in "ab"
        ]
        self.acknowledged = [{}, {}]  # by node: hash to wire
        self.reasons = [{}, {}]  # why some of those are in no block
        self.included = []
        self.proposal = None
        self.sent = []

    def teardown(self):
        try:
            self.drain()
        finally:
            for node in self.nodes:
                node.replica.close()
            shutil.rmtree(self.folder)

    # --- members ----------------------------------------------------------------------------------

    @rule(at=BOTH, name=NAMES, micros=st.sampled_from((1, 4_000_000, HUGE)), soon=st.booleans())
    def hand_in(self, at, name, micros, soon):
        until = self.time + (1500 if soon else 10_000_000)
        self.submit(at, self.world.sign(name, Transfer("alpha", micros), until=until).wire)

    @rule(at=BOTH, name=NAMES, micros=st.integers(1, 3))
    def reuse_a_nonce(self, at, name, micros):
        nonce = max(1, self.world._nonces.get((name, 0), 0))
        tx = self.world.sign(name, Transfer("bravo", micros), nonce=nonce, until=self.time + 10**6)
        self.submit(at, tx.wire)

    @precondition(lambda self: self.sent)
    @rule(at=BOTH, data=st.data())
    def hand_in_again(self, at, data):
        self.submit(at, data.draw(st.sampled_from(self.sent)))

    def submit(self, at, wire):
        self.sent.append(wire)
        node = self.nodes[at]
        (answer,) = node.replica.admit([wire], self.time)
        if isinstance(answer, bytes):
            self.acknowledged[at][answer] = wire
            self.reasons[at].pop(answer, None)
            node.check(wire)

    # --- CometBFT ---------------------------------------------------------------------------------

    @rule(at=BOTH)
    def gossip(self, at):
        for wire in self.nodes[at].mempool:
            self.nodes[1 - at].check(wire)

    @rule(at=BOTH)
    def hand_over_again(self, at):
        replica = self.nodes[at].replica
        replica.reconsider(set(replica.waiting()))
        for wire in replica.waiting().values():
            self.nodes[at].check(wire)

    @rule(at=BOTH)
    def recheck(self, at):
        self.nodes[at].recheck()

    @rule(milliseconds=st.sampled_from((1, 1000)))
    def wait(self, milliseconds):
        self.time += milliseconds

    @rule(at=BOTH)
    def propose(self, at):
        self.time += 1
        wires = self.nodes[at].replica.propose(self.time, list(self.nodes[at].mempool))
        self.proposal = (self.time, wires)

    @precondition(lambda self: self.proposal)
    @rule(at=BOTH)
    def process(self, at):
        time, wires = self.proposal
        assert self.refusal(at, time, wires) == ""
        if len(wires) > 1:
            assert self.refusal(at, time, wires[::-1])
            assert self.refusal(at, time, [*wires, wires[-1]])
        assert self.refusal(at, time, [*wires, b"junk"])

    def refusal(self, at, time, wires):
        replica = self.nodes[at].replica
        return replica.refusal(replica.head.height + 1, time, wires)

    @precondition(lambda self: self.proposal)
    @rule(first=CRASHES, second=CRASHES)
    def decide(self, first, second):
        (time, wires), self.proposal = self.proposal, None
        world, height = self.world, self.world.head.height + 1
        outcome = world.kernel.execute(world.state, world.head, time, wires)
        world.state.commit(outcome.changes)
        world.head = outcome.header
        self.included += [tx.hash for tx in outcome.transactions]
        for node, crash in zip(self.nodes, (first, second), strict=True):
            self.execute(node, crash, height, time, wires)
            for wire in wires:
                node.mempool.pop(wire, None)
            receipts = [node.replica.outcome(tx.hash) for tx in outcome.transactions]
            assert receipts == list(outcome.receipts)

    def execute(self, node, crash, height, time, wires):
        if crash == "before":
            node.crash()
        decided = node.replica.finalize(height, time, wires)
        if crash == "finalized":
            node.crash()
            decided = node.replica.finalize(height, time, wires)
        assert decided.outcome.header == self.world.head
        node.replica.commit()
        if crash == "committed":
            node.crash()

    @rule(at=BOTH)
    def crash(self, at):
        self.nodes[at].crash()

    # --- what holds -------------------------------------------------------------------------------

    @invariant()
    def both_are_where_the_kernel_is(self):
        for node in self.nodes:
            assert node.replica.head == self.world.head
            assert node.replica.state.root == self.world.state.root

    @invariant()
    def no_transaction_is_in_two_blocks(self):
        assert len(self.included) == len(set(self.included))

    @invariant()
    def nothing_acknowledged_is_lost_without_a_reason(self):
        done = set(self.included)
        for node, taken, reasons in zip(self.nodes, self.acknowledged, self.reasons, strict=True):
            waiting = node.replica.waiting()
            for tx_hash in taken.keys() - done - waiting.keys() - reasons.keys():
                reasons[tx_hash] = node.replica.outcome(tx_hash)
                assert isinstance(reasons[tx_hash], RejectedError)

    def drain(self):
        """Whatever waits gets into a block, or is refused."""
        for at in (0, 1, 0, 1):
            self.hand_over_again(0)
            self.hand_over_again(1)
            self.gossip(1 - at)
            self.propose(at)
            self.decide("", "")
            self.recheck(0)
            self.recheck(1)
        for at in (0, 1):
            self.hand_over_again(at)
            assert self.nodes[at].replica.waiting() == {}
        self.nothing_acknowledged_is_lost_without_a_reason()


Interleavings.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_any_interleaving_leads_to_one_history = Interleavings.TestCase
