"""Random histories of validators: the set is never empty, and the money always adds up.

After every block `Validators` applies the updates as the engine would and compares; `World` counts
the money from its rows and applies the block again to a state rebuilt from its rows.
"""

import random

import pytest
from support.validators import VALIDATOR, Validators, ballot, evidence, new_key
from support.world import public_of

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.ledger.contracts import accounts, members
from tallystick.ledger.contracts.validators import EQUIVOCATIONS
from tallystick.ledger.genesis import Key
from tallystick.ledger.messages import Admit, ProposeChange, Remove, Seat, Transfer, Unseat, Vote

NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
NEWCOMERS = ("foxtrot", "golf")
BLOCKS = 40


class History:
    """A ledger whose members draw what they do from one seed."""

    def __init__(self, seed):
        self.draw = random.Random(f"validators/{seed}")
        able = self.draw.sample(NAMES, self.draw.randint(1, len(NAMES)))
        self.world = Validators(tuple(able), tuple(set(NAMES) - set(able)))
        self.codes = set()
        self.seen = set()

    def run(self):
        for _ in range(BLOCKS):
            for _ in range(self.draw.randint(0, 4)):
                self._act()
            self._note(self.world.seal())
        convicted = self.world.state.rows_of(EQUIVOCATIONS)
        assert accounts.totals(self.world.state).sink == sum(row.micros for _, row in convicted)

    def _note(self, outcome):
        self.codes |= {error.code for _, error in outcome.refused}
        self.seen |= {event.kind for each in outcome.receipts for event in each.events}
        self.seen |= {f"power {power}" for _, power in outcome.validator_updates}
        self.seen |= {"one left"} if len(self.world.seats) == 1 else set()

    def _act(self):
        world, draw = self.world, self.draw
        actors = [name for name in members.active_members(world.state) if self._can(name)]
        name, other = draw.choice(actors), draw.choice((*NAMES, *NEWCOMERS))
        match draw.choice(("decide", "decide", "decide", "rotate", "lie", "pay")):
            case "decide":
                self._decide(actors, self._change(other))
            case "rotate":
                world.send(name, new_key(world, name))
            case "lie":
                self._convict(name, other)
            case _:
                world.send(name, Transfer(other, draw.randint(1, 3_000_000)))

    def _can(self, name):
        return members.active_key(self.world.state, name, self.world.generations[name]) is not None

    def _change(self, name):
        if name in NEWCOMERS and name not in self.world.generations:
            self.world.generations[name], self.world.used[name] = 0, VALIDATOR
            keys = ((public_of(name), "owner"), (public_of(name, VALIDATOR), "validator"))
            return Admit(name, tuple(Key(*each) for each in keys))
        few = self.draw.random() < 0.9
        return self.draw.choice((Seat, Unseat) if few else (Seat, Unseat, Remove))(name)

    def _decide(self, actors, change):
        """Let everybody vote in this block, so that decisions of one block meet each other."""
        proposer, *voters = sorted(actors)
        self.world.send(proposer, ProposeChange(change))
        for name in voters:
            self.world.send(name, Vote(sha256("proposal", encode(change))))

    def _convict(self, accuser, name):
        """Prove a lie of some height, sometimes a future one, by some key, often a valid one."""
        if name not in self.world.generations:
            return
        used = self.world.used[name]
        generation = self.draw.choice((used, used, used, self.draw.randint(VALIDATOR, used), 0))
        height = self.world.head.height + self.draw.choice((-2, -1, 0, 1, 2))
        blocks = self.draw.choice(((b"a", b"b"), (b"", b"b"), (b"b", b"a"), (b"a", b"a")))
        votes = (ballot(block, height=max(0, height)) for block in blocks)
        message = evidence(self.world, name, *votes, generation=generation)
        by_validator = {}
        for public in (self.world.set.get(accuser),) if self.draw.random() < 0.5 else ():
            for at in range(VALIDATOR, self.world.used[accuser] + 1):
                if public == public_of(accuser, at):
                    by_validator = self.world.by(accuser, at)
        self.world.send(accuser, message, **by_validator)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_somebody_validates_and_money_adds_up(seed):
    History(seed).run()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_hundreds_of_histories_keep_a_validator(block):
    for seed in range(12 + block * 30, 42 + block * 30):
        History(seed).run()


def test_the_histories_cover_what_they_are_meant_to():
    seen, codes = set(), set()
    for seed in range(12):
        history = History(seed)
        history.run()
        seen |= history.seen
        codes |= history.codes

    assert seen >= {"equivocation", "unseated", "key-rotated", "power 0", "power 10", "one left"}
    assert codes >= {401, 402, 404}
