"""Several fake CometBFTs that decide the same blocks, each with an application of its own."""

from __future__ import annotations

from support.abci_app import App
from support.fake_comet import CrashError, Decision, FakeComet
from tallystick.consensus.cometbft.validators import address_of
from tallystick.ledger.contracts import validators

__all__ = ["Network", "start_comet"]


def start_comet(folder, genesis, *, handshake=True, **options):
    """Return a fake CometBFT that runs, with its application in a folder.

    Without a ``handshake`` it founds nothing: it is to begin with a snapshot.
    """
    return FakeComet(App(folder, genesis, **options)).start(handshake=handshake)


class Network:
    """One application a validator; those that ended catch up once they are started again."""

    def __init__(self, folder, genesis, count=4, **options):
        self.genesis, self.time = genesis, genesis.time
        self.comets = [
            start_comet(folder / f"n{place}", genesis, **options) for place in range(count)
        ]
        self.blocks = []

    def close(self):
        for each in self.comets:
            each.stop()

    @property
    def running(self):
        return [each for each in self.comets if each.app.is_running]

    def hand_in(self, *wires, at=0):
        """Give transactions to one node's mempool, from where they reach the others."""
        codes = self.comets[at].check(*wires)
        taken = [wire for wire, code in zip(wires, codes, strict=True) if code == 0]
        for each in self.running:
            if each is not self.comets[at] and taken:
                each.check(*taken)
        return codes

    def decide(self, dt=1000, *, proposer=0, misbehavior=()):
        """Let one propose, all vote, all execute; return the block."""
        self.time += dt
        block = self.propose(proposer)
        block = Decision(block.height, block.time, block.txs, block.proposer, misbehavior)
        for each in list(self.running):
            if each.top + 1 == block.height:
                assert self._survives(each.process, block) is not False
        self.blocks.append(block)
        for each in list(self.running):
            self._survives(each.apply, block)
        self.check_equal()
        return block

    def propose(self, place):
        comet = self.comets[place]
        chosen = validators.validator_set(comet.app.replica.state)
        address = address_of(list(chosen.values())[place % len(chosen)])
        return comet.prepare(self.time, proposer=address)

    def bring_back(self, place):
        """Start one again and give it what was decided without it, as block sync does."""
        comet = self.comets[place]
        comet.start()
        self.catch_up(comet)

    def catch_up(self, comet):
        for block in self.blocks[comet.top :]:
            comet.apply(block)
        self.check_equal()

    def check_equal(self):
        """Compare what CometBFT compares: app hashes, results and validators, at every height."""
        whole = [each for each in self.running if each.state_height == len(self.blocks)]
        assert whole
        first = whole[0]
        for other in whole[1:]:
            height = first.state_height
            assert other.hashes[height] == first.hashes[height]
            assert other.results.get(height, first.results.get(height)) == first.results.get(height)
            assert other.power == first.power
            assert other.app.replica.head == first.app.replica.head

    def _survives(self, act, block):
        try:
            return act(block)
        except CrashError:
            return None
