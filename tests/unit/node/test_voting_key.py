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
from tallystick.node.consortium import lacking_key, voting_secret, watch_key
from tallystick.storage.sqlite import LedgerStore

NAMES = ("east", "north", "south", "west")
NEW, OTHER = bytes(range(32)), bytes(range(1, 33))


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


@pytest.fixture
def replica(world, tmp_path):
    """Return west's ledger before its first block."""
    with closing(LedgerStore(tmp_path / "ledger.db")) as store:
        yield Replica(store, world.genesis)


def decide(replica, outcome):
    at, wires = outcome.header.time, [tx.wire for tx in outcome.transactions]
    replica.finalize(outcome.header.height, at, wires)
    replica.commit()


def with_both(ring):
    return Keyring("west", ring.owner, ring.worker, (*ring.validator, NEW), ring.salt)


def test_a_key_that_is_replaced_votes_once_more_and_then_the_new_one(world, replica, told):
    ring = with_both(world.rings["west"])
    replica.secret = voting_secret(replica, ring)
    replica.listen(lambda _: watch_key(replica, ring))
    decide(replica, world.outcomes[-1])

    assert (voting_secret(replica, ring), told) == (ring.validator[0], [])

    decide(replica, world.seal())

    assert (voting_secret(replica, ring), told) == (NEW, [signal.SIGTERM])


def test_a_node_that_starts_between_the_two_blocks_votes_with_the_old_key(world, tmp_path):
    ring, path = with_both(world.rings["west"]), tmp_path / "ledger.db"
    with closing(LedgerStore(path)) as store:
        decide(Replica(store, world.genesis), world.outcomes[-1])
    with closing(LedgerStore(path)) as store:
        again = Replica(store)
        assert voting_secret(again, ring) == ring.validator[0]
        decide(again, world.seal())
        assert voting_secret(again, ring) == NEW


def test_two_who_rotate_in_one_block_leave_enough_votes_for_the_next(world, replica):
    public = keys.public_of(OTHER)
    proof = key_proof(OTHER, "south", public, world.kernel.chain)
    decide(replica, world.outcomes[-1])
    before = replica.voters()
    decide(replica, _say(world, "south", RotateKey(Key(public, "validator"), proof)))

    assert before["west"] == world.rings["west"].public("validator")
    assert replica.voters()["west"] == keys.public_of(NEW)
    assert replica.voters()["south"] != public
    decide(replica, world.seal())
    assert replica.voters()["south"] == public


def test_a_new_key_whose_secret_is_not_here_does_not_vote(world, replica):
    ring = world.rings["west"]
    for outcome in (world.outcomes[-1], world.seal()):
        decide(replica, outcome)

    assert voting_secret(replica, ring) == ring.validator[-1]
    assert lacking_key(replica, ring) == keys.public_of(NEW)
    assert lacking_key(replica, with_both(ring)) == b""


def test_a_node_starts_anew_once_for_a_key_that_it_lacks(world, replica, told):
    ring = world.rings["west"]
    replica.secret = voting_secret(replica, ring)
    decide(replica, world.outcomes[-1])
    decide(replica, world.seal())
    watch_key(replica, ring)
    assert told == [signal.SIGTERM]
    watch_key(replica, ring, lacking_key(replica, ring))

    assert told == [signal.SIGTERM]


@pytest.mark.parametrize(("name", "ends"), [("west", True), ("east", False)])
def test_a_node_that_began_with_a_snapshot_takes_up_the_key_in_it(
    world, told, tmp_path, name, ends
):
    with closing(LedgerStore(tmp_path / "ledger.db")) as store:
        replica = Replica(store, world.genesis)
        ring = with_both(world.rings[name]) if ends else world.rings[name]
        replica.secret = voting_secret(replica, ring)
        replica.listen(lambda _: watch_key(replica, ring))
        replica.restore(dict(world.state.rows()), world.outcomes[-1].header)
        for _ in range(2):
            decide(replica, _say(world, "north", Transfer("south", 1)))

    assert told[:1] == [signal.SIGTERM] * ends


def _say(world, name, message):
    """Bring about a block with a message signed by its sender's owner key."""
    who = world.rings[name].identity_in(world.state, "owner")
    nonce = last_nonce(world.state, name, who.key) + 1
    body = Body(name, who.key, nonce, world.now + 3_600_000, message)
    world.pending.append(sign_transaction(body, who.secret, world.kernel.chain))
    return world.seal()
