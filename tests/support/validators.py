"""A ledger under CometBFT driven by hand, beside it the set that the engine would have.

After each block the engine's rules are checked: what leaves was there, what comes was not, somebody
is left; and the set is the state's, of active members by keys that are valid.
"""

from __future__ import annotations

from support.world import MEMBERS, World, make_genesis, public_of, rotation, secret_of
from tallystick.crypto import keys
from tallystick.crypto.votes import PRECOMMIT, BlockId, Moment, Vote, sign_bytes
from tallystick.ledger.contracts import validators
from tallystick.ledger.contracts.members import MEMBERS as ROWS
from tallystick.ledger.contracts.members import active_members
from tallystick.ledger.genesis import Founder, Key
from tallystick.ledger.messages import Equivocate

VALIDATOR = 100  # generations from here on are of validator keys

__all__ = ["VALIDATOR", "Validators", "ballot", "evidence", "founded", "new_key", "signed"]


def founded(validating=MEMBERS, others=(), **fields):
    """Return a genesis under CometBFT whose ``others`` have no validator key."""
    founders = tuple(
        Founder(
            name,
            (Key(public_of(name), "owner"),)
            + ((Key(public_of(name, VALIDATOR), "validator"),) if name in validating else ()),
            10_000_000,
        )
        for name in sorted({*validating, *others})
    )
    names = tuple(founder.id for founder in founders)
    return make_genesis(names, engine="cometbft", sealer="", **fields, founders=founders)


class Validators(World):
    """See the module; ``power`` is the engine's set, by public key."""

    def __init__(self, validating=MEMBERS, others=(), *, trial=True, **fields):
        genesis = founded(validating, others, trial=trial)
        names = tuple(founder.id for founder in genesis.founders)
        super().__init__(names, genesis=genesis, **fields)
        self.power = dict(validators.validator_updates({}, self.set))
        self.used = dict.fromkeys(names, VALIDATOR)

    @property
    def set(self):
        return validators.validator_set(self.state)

    @property
    def seats(self):
        return validators.seats(self.state)

    def seal(self, dt=1000):
        outcome = super().seal(dt)
        updates = outcome.validator_updates
        assert list(updates) == sorted(dict(updates).items())
        for public, power in updates:
            assert power in {0, validators.POWER}
            assert (public in self.power) == (power == 0)
            self.power[public] = power
            if not power:
                del self.power[public]
        assert self.power == dict.fromkeys(self.set.values(), validators.POWER)
        assert self.power
        assert tuple(self.set) == self.seats
        assert set(self.seats) <= set(active_members(self.state))
        return outcome

    def index_of(self, name, generation):
        """Return the place of a member's key among all it ever had."""
        publics = [key.public for key in self.state.get(ROWS, name).keys]
        return publics.index(public_of(name, generation))

    def by(self, name, generation):
        """Return the envelope of a transaction that a key of some generation signs."""
        return {"key": self.index_of(name, generation), "secret": secret_of(name, generation)}


def new_key(world, name):
    """Return the message that gives a member its next validator key."""
    world.used[name] += 1
    return rotation(world, name, world.used[name], role="validator")


def ballot(block=b"a", *, height=1, turn=0, kind=PRECOMMIT, seconds=7):
    """Return a vote for a block that a few bytes stand for; for none if there are no bytes.

    ``turn`` is the round.
    """
    voted = BlockId(block.ljust(32, b"."), 1, block.rjust(32, b".")) if block else BlockId()
    return Vote(kind, height, turn, voted, Moment(seconds, 0))


def signed(world, name, vote, generation=VALIDATOR, chain_id=None):
    """Return a member's signature of a vote."""
    chain_id = world.kernel.chain_id if chain_id is None else chain_id
    return keys.unsafe_sign_raw(secret_of(name, generation), sign_bytes(vote, chain_id))


def evidence(world, name, *votes, generation=VALIDATOR, **signing):
    """Return the message that convicts a member of two votes, by default of blocks a and b."""
    votes = votes or (ballot(b"a"), ballot(b"b"))
    signatures = tuple(signed(world, name, vote, generation, **signing) for vote in votes)
    return Equivocate(name, votes, signatures)
