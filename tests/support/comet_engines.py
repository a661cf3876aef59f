"""The replica behind a fake CometBFT, as an engine of the conformance suite: every block through
the mempool, a proposal, a vote, its decision and its commit, over the socket.
"""

from __future__ import annotations

from support.fake_comet import ACCEPT, CrashError
from support.fake_network import start_comet

__all__ = ["BegunComet", "CrashedComet", "FreshComet", "ReopenedComet"]


class FreshComet:
    """A node whose processes live as long as the ledger."""

    ledger = "cometbft"
    every = 0

    def __init__(self, genesis, folder):
        self.folder, self.genesis = folder, genesis
        self.comet = start_comet(folder / "a", genesis, every=self.every)

    def seal(self, outcome):
        wires = outcome.block.transactions
        assert not any(self.comet.check(*wires))
        block = self.comet.prepare(outcome.header.time)
        assert block.txs == wires
        assert self.comet.process(block)
        self.apply(block)
        replica = self.comet.app.replica
        found = replica.head, [replica.outcome(tx.hash) for tx in outcome.transactions]
        self.go_on()
        return found

    def apply(self, block):
        self.comet.apply(block)

    def go_on(self):
        """Do between two blocks what this engine does."""

    def leaves(self, task):
        return [leaf for _, leaf in self.comet.app.replica.leaves(task)]

    def rows(self):
        return dict(self.comet.app.replica.state.rows())

    def close(self):
        self.comet.stop()


class ReopenedComet(FreshComet):
    """A node whose processes end after every block."""

    def apply(self, block):
        super().apply(block)
        self.comet.stop()
        self.comet.start()


class CrashedComet(FreshComet):
    """A node that ends after each block was executed, and before it was written."""

    def apply(self, block):
        self.comet.crash_at = "finalized"
        try:
            super().apply(block)
        except CrashError:
            self.comet.start()


class BegunComet(FreshComet):
    """A node whose first blocks another one executed: it begins with a snapshot of the last."""

    every = 16

    def __init__(self, genesis, folder):
        super().__init__(genesis, folder)
        self.first = None

    def go_on(self):
        if self.first is None and self.comet.top == self.every:
            self.first = self.comet
            self.first.app.snapshots.wait()
            (snapshot,) = self.first.snapshots()
            self.comet = start_comet(self.folder / "b", self.genesis, handshake=False)
            sources = {"a": self.first.chunk_of(snapshot)}
            root, power = self.first.hashes[self.every], self.first.power
            assert self.comet.begin_with(snapshot, sources, root, power) == ACCEPT

    def leaves(self, task):
        """Return those of both nodes: the second has none of before, and numbers its own after."""
        before = [leaf for _, leaf in self.first.app.replica.leaves(task)]
        own = super().leaves(task)
        assert own == [leaf for _, leaf in self.comet.app.replica.leaves(task, len(before))]
        return before + own

    def close(self):
        assert self.comet.app.replica.proven == self.every
        for each in (self.first, self.comet):
            each.stop()
