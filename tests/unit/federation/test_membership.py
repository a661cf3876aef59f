"""A member's new keys, on ledgers that one seals and on ledgers that validators order."""

from types import SimpleNamespace

import pytest
from support.world import World

from tallystick.federation.founding import trial_network
from tallystick.federation.key_file import load_keyring, save_keyring
from tallystick.federation.membership import ordering_keys, rotate
from tallystick.ledger.messages import ProposeChange, Unseat, Vote
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction

NAMES = ("east", "north", "south")


class Hand:
    """A member that acts on a ledger driven by hand, in blocks of its own."""

    def __init__(self, world, name, folder):
        save_keyring(folder, world.rings[name])
        self.world, self.name, self.keyring = world, name, world.rings[name]
        self.engine = SimpleNamespace(genesis=world.genesis, kernel=world.kernel)

    @property
    def state(self):
        return self.world.state

    def check_identity(self):
        self.keyring.identity_in(self.state, "owner")

    def act(self, message):
        who = self.keyring.identity_in(self.state, "owner")
        nonce = last_nonce(self.state, who.member, who.key) + 1
        body = Body(who.member, who.key, nonce, self.world.now + 3_600_000, message)
        self.world.pending.append(sign_transaction(body, who.secret, self.world.kernel.chain))
        assert not self.world.seal().refused


def ledger(**fields):
    made = trial_network(NAMES, 0, **fields)
    world = World(NAMES, genesis=made.genesis)
    world.rings = made.keyrings
    return world


@pytest.mark.parametrize(
    ("engine", "ordering"), [("solo", {"east"}), ("cometbft", {"east", "north", "south"})]
)
def test_a_new_validator_key_seals_where_its_member_orders(tmp_path, engine, ordering):
    world = ledger(engine=engine)
    for name in NAMES:
        hand = Hand(world, name, tmp_path / name)
        for role in ("worker", "owner", "validator"):
            made = rotate(hand, tmp_path / name, role)
            assert made.seals == (role == "validator" and name in ordering)
            assert made.public == load_keyring(tmp_path / name).public(role)
            assert made.public in ordering_keys(world.state, world.genesis) or not made.seals


def test_who_lost_its_seat_rotates_a_key_that_orders_nothing(tmp_path):
    world = ledger(engine="cometbft")
    hands = {name: Hand(world, name, tmp_path / name) for name in NAMES}
    hands["east"].act(ProposeChange(Unseat("south")))
    (event,) = world.outcomes[-1].receipts[0].events
    for name in ("north", "south"):
        hands[name].act(Vote(bytes.fromhex(event.subject)))

    assert len(ordering_keys(world.state, world.genesis)) == 2
    assert not rotate(hands["south"], tmp_path / "south", "validator").seals
