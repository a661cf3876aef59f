"""A member's new keys, on ledgers that one seals and on ledgers that validators order."""

from types import SimpleNamespace

import pytest
from support.world import World

from tallystick.errors import ConfigError
from tallystick.federation.founding import trial_network
from tallystick.federation.key_file import load_keyring, save_keyring
from tallystick.federation.membership import ordering_keys, rotate, support
from tallystick.ledger.contracts.changes import VotedAlreadyError
from tallystick.ledger.contracts.members import MembershipError
from tallystick.ledger.messages import ProposeChange, Remove, Unseat, Upgrade, Vote
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction

NAMES = ("east", "north", "south")


class Hand:
    """A member that acts on a ledger driven by hand, in blocks of its own."""

    def __init__(self, world, name, folder):
        save_keyring(folder, world.rings[name])
        self.world, self.name, self.keyring = world, name, world.rings[name]

    @property
    def engine(self):
        return SimpleNamespace(
            genesis=self.world.genesis, kernel=self.world.kernel, head=self.world.head
        )

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
        refused = self.world.seal().refused
        if refused:
            raise refused[0][1]


class Beaten(Hand):
    """One that others are quicker than: they have their say when it has begun to have its own."""

    def __init__(self, *arguments, others):
        super().__init__(*arguments)
        self.others = list(others)

    def act(self, message):
        while self.others:
            self.others.pop().act(message)
        super().act(message)


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


def test_an_upgrade_at_a_height_that_has_passed_is_not_proposed(tmp_path):
    world = ledger()
    north = Hand(world, "north", tmp_path)
    world.seal()

    with pytest.raises(ConfigError, match="height 1 has passed: the ledger is at 1"):
        support(north, Upgrade(2, 1))
    assert support(north, Upgrade(2, 9)).proposal.change == Upgrade(2, 9)


def test_two_who_propose_the_same_at_once_have_both_voted(tmp_path):
    world = ledger(engine="cometbft")
    first = Hand(world, "north", tmp_path / "north")
    second = Beaten(world, "south", tmp_path / "south", others=[first])

    voted = support(second, Remove("east"))

    assert not voted.decided
    assert voted.proposal.votes == ("north", "south")


def test_a_change_that_cannot_be_is_refused_whoever_is_quicker(tmp_path):
    world = ledger(engine="cometbft")
    hand = Hand(world, "north", tmp_path / "north")

    with pytest.raises(MembershipError):
        support(hand, Remove("nobody"))
    hand.act(ProposeChange(Remove("east")))
    with pytest.raises(VotedAlreadyError):
        hand.act(ProposeChange(Remove("east")))
