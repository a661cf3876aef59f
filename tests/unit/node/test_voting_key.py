"""Which key a node under CometBFT votes with, and when it takes up another one."""

import signal
from contextlib import closing

import pytest
from support.world import World

from tallystick.consensus.cometbft.replica import Replica
from tallystick.crypto import keys
from tallystick.federation.founding import trial_network
from tallystick.federation.keyring import Keyring
from tallystick.ledger.contracts.members import key_proof
from tallystick.ledger.genesis import Key
from tallystick.ledger.messages import RotateKey, Transfer
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction
from tallystick.node.consortium import voting_secret, watch_key
from tallystick.storage.sqlite import LedgerStore

NAMES = ("east", "north", "south", "west")
NEW = bytes(range(32))


@pytest.fixture
def world():
    """Return a ledger on which west replaces its validator key in block 1; all hold their keys."""
    made = trial_network(NAMES, 0, engine="cometbft")
    world = World(NAMES, genesis=made.genesis)
    world.rings = made.keyrings
    public = keys.public_of(NEW)
    proof = key_proof(NEW, "west", public, world.kernel.chain)
    _say(world, "west", RotateKey(Key(public, "validator"), proof))
    return world


@pytest.fixture
def told(monkeypatch):
    """Return the signals that this process sent itself."""
    sent = []
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append(number))
    return sent


def test_the_newest_key_on_the_ledger_votes_once_its_secret_is_here(world):
    ring = world.rings["west"]
    both = Keyring("west", ring.owner, ring.worker, (*ring.validator, NEW), ring.salt)

    assert voting_secret(world.state, ring) == ring.validator[-1]
    assert voting_secret(world.state, both) == NEW


@pytest.mark.parametrize(("name", "ends"), [("west", True), ("east", False)])
def test_a_node_that_began_with_a_snapshot_takes_up_the_key_in_it(
    world, told, tmp_path, name, ends
):
    with closing(LedgerStore(tmp_path / "ledger.db")) as store:
        replica = Replica(store, world.genesis)
        ring = world.rings[name]
        replica.secret = voting_secret(replica.state, ring)
        replica.listen(lambda outcome: watch_key(replica, ring, outcome))
        replica.restore(dict(world.state.rows()), world.outcomes[-1].header)
        for _ in range(2):
            outcome = _say(world, "north", Transfer("south", 1))
            at, wires = outcome.header.time, [tx.wire for tx in outcome.transactions]
            replica.finalize(outcome.header.height, at, wires)
            replica.commit()

    assert told == [signal.SIGTERM] * ends


def _say(world, name, message):
    """Bring about a block with a message signed by its sender's owner key."""
    who = world.rings[name].identity_in(world.state, "owner")
    nonce = last_nonce(world.state, name, who.key) + 1
    body = Body(name, who.key, nonce, world.now + 3_600_000, message)
    world.pending.append(sign_transaction(body, who.secret, world.kernel.chain))
    return world.seal()
