"""Several validators that break the rules in one block: each is brought before the ledger."""

import time
from contextlib import closing

import pytest
from support.validators import VALIDATOR, Validators, evidence
from support.world import secret_of

from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.cometbft.rpc_json import DoubleVote
from tallystick.consensus.cometbft.validators import address_of
from tallystick.consensus.witness import Witness
from tallystick.errors import UnavailableError
from tallystick.node import accusing
from tallystick.storage.sqlite import LedgerStore

PATIENCE_SECONDS = 30


class Rpc:
    def call(self, *_, **__):
        return {}

    def close(self):
        pass


@pytest.fixture
def world():
    return Validators(audited=False)


@pytest.fixture
def replica(world, tmp_path):
    secret = secret_of("alpha", VALIDATOR)
    store = LedgerStore(tmp_path / "ledger.db")
    with closing(Replica(store, world.genesis, secret, clock=lambda: world.now)) as made:
        yield made


@pytest.fixture
def accuser(replica, tmp_path):
    made = accusing.Accuser(replica, "alpha", Rpc, Witness(tmp_path / "evidence"))
    yield made
    made.stop()


def found(world, name):
    brought = evidence(world, name)
    return DoubleVote(address_of(world.set[name]), brought.votes, brought.signatures)


def until(reached):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def test_two_who_voted_twice_in_one_block_are_both_brought(world, replica, accuser, monkeypatch):
    guilty = [name for name in world.set if name != "alpha"][:2]
    monkeypatch.setattr(
        accusing, "parse_double_votes", lambda _: [found(world, name) for name in guilty]
    )
    world.seal()
    replica.finalize(1, world.head.time, [])
    replica.commit()
    accuser.start(replica.submit)
    accuser.accuse(1)
    until(lambda: len(replica.waiting()) == len(guilty))
    wires = replica.propose(world.now + 1000, list(replica.waiting().values()))
    outcome = replica.finalize(2, world.now + 1000, wires).outcome

    assert [receipt.code for receipt in outcome.receipts] == [0, 0]
    assert {event.subject for each in outcome.receipts for event in each.events} == set(guilty)


def test_an_error_nobody_foresaw_does_not_end_the_accusing(world, replica, accuser, monkeypatch):
    answers = iter([KeyError("odd"), UnavailableError("away"), [found(world, "bravo")]])

    def parse(_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(accusing, "parse_double_votes", parse)
    monkeypatch.setattr(accusing, "PAUSE_SECONDS", 0.0)
    accuser.start(replica.submit)
    accuser.accuse(1)
    accuser.accuse(2)
    until(lambda: len(replica.waiting()) == 1)

    assert [each["member"] for each in accuser.told()] == ["bravo"]
