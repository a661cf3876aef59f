"""A node's relay between a replica, which a test lets decide blocks, and a fake CometBFT."""

import time
from contextlib import ExitStack
from types import SimpleNamespace

from support.comet_ledger import FakeRpc, lights_of
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.wire import blocks_in
from tallystick.ledger.messages import Transfer
from tallystick.node.relay import Relay
from tallystick.storage.sqlite import LedgerStore

PATIENCE_SECONDS = 30


def until(reached):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


class Site:
    """A node's relay between a replica, which a test lets decide blocks, and a fake CometBFT."""

    def __init__(self, folder, world):
        self.folder, self.world, self.rpc = folder, world, FakeRpc()
        self.stack = ExitStack()

    def open(self):
        path = self.folder / "ledger.sqlite"
        self.replica = Replica(
            LedgerStore(path), self.world.genesis, clock=lambda: self.world.now, most_pending=400
        )
        self.stack.callback(self.replica.close)
        reader = LedgerStore(path)
        self.stack.callback(reader.close)
        self.relay = Relay(
            self.replica,
            reader,
            self.rpc,
            member="alpha",
            quiet_seconds=5.0,
            also=lambda: {"snapshot": 7},
        )
        self.stack.callback(self.relay.stop)
        self.relay.clock = SimpleNamespace(now=lambda: self.world.now)
        self.heard = []
        self.relay.listen(self.heard.append)
        return self

    def start(self):
        self.relay.start()
        return self

    def close(self):
        self.stack.close()
        self.stack = ExitStack()

    def decide(self, dt=1000):
        outcome = self.world.seal(dt)
        self.follow(outcome)
        return outcome

    def follow(self, outcome):
        header = outcome.header
        self.replica.finalize(header.height, header.time, outcome.block.transactions)
        self.replica.commit()

    def sign(self, blocks, **options):
        """Let CometBFT have what the validators signed these blocks by."""
        lights = lights_of(self.world, **options)
        self.rpc.lights.update((height, lights[height]) for height in blocks)

    def shown(self):
        return list(blocks_in(self.relay.framed(1, 100)))

    def pay(self, member="bravo", **envelope):
        return self.world.send(member, Transfer("alpha", 1), **envelope)

    def submit(self, tx):
        return self.relay.submit(tx.wire).result(PATIENCE_SECONDS)
