"""Data sets by their roots, models by the round that made them, and who may read them."""

import pytest
from support.play import Play
from support.terms import MEMBERS, chain_fl, simple
from support.world import World, digest

from tallystick.ledger.collect.notes import Closed
from tallystick.ledger.contracts import access, accounts, registry
from tallystick.ledger.contracts.access import AccessError, NoAccessError
from tallystick.ledger.messages import BuyAccess, RegisterDataset

FEE = 1_000_003


@pytest.fixture
def world():
    return World((*MEMBERS, "reader"))


def test_the_first_registration_of_a_data_set_stands(world):
    root = digest("data")
    world.accept("bravo", RegisterDataset(root, 3, "salted-rows"))

    assert world.refused("alpha", RegisterDataset(root, 4)).code == 421
    assert registry.dataset(world.state, root) == registry.Dataset("bravo", 3, "salted-rows")
    assert registry.dataset(world.state, digest("other")) is None


def test_every_completed_rounds_model_is_registered_with_its_origin(world):
    play = Play(world, chain_fl(rounds=2))
    play.finish()
    first, last = (
        note.output.live[0].id for note in play.notes(Closed) if note.stage == "aggregate"
    )

    assert registry.model(world.state, first) == registry.ModelRow(play.task, 1)
    assert registry.model(world.state, last) == registry.ModelRow(play.task, 2)
    assert play.row.model.root == last


def test_a_reader_pays_the_fee_once_and_the_members_share_it(world):
    play = Play(world, simple(read_fee=FEE))
    before = {name: accounts.balance(world.state, name) for name in world.generations}
    world.accept("reader", BuyAccess(play.task, FEE))
    gained = {
        name: accounts.balance(world.state, name) - before[name] for name in world.generations
    }

    assert gained == {
        "alpha": 250_003,
        "bravo": 250_000,
        "charlie": 250_000,
        "delta": 250_000,
        "reader": -FEE,
    }
    assert access.has_access(world.state, play.task, "reader")
    assert world.refused("reader", BuyAccess(play.task, FEE)).code == 431


def test_an_owner_outside_the_members_gets_the_remainder(world):
    members = ("bravo", "charlie", "delta")
    play = Play(world, simple(members=members, owner="alpha", read_fee=FEE))
    before = accounts.balance(world.state, "alpha")
    world.accept("reader", BuyAccess(play.task, FEE))

    assert accounts.balance(world.state, "alpha") - before == FEE % 3


def test_a_fee_above_the_stated_budget_is_not_taken(world):
    play = Play(world, simple(read_fee=FEE))

    assert type(world.refused("reader", BuyAccess(play.task, FEE - 1))) is AccessError
    assert not access.has_access(world.state, play.task, "reader")


def test_parties_read_without_paying_and_cannot_buy(world):
    play = Play(world, simple(read_fee=FEE))

    access.check_access(world.state, play.task, "delta")
    assert type(world.refused("delta", BuyAccess(play.task, FEE))) is AccessError


def test_nobody_else_reads(world):
    play = Play(world, simple(read_fee=FEE))

    with pytest.raises(NoAccessError) as refused:
        access.check_access(world.state, play.task, "reader")
    assert refused.value.code == 432
    assert not access.has_access(world.state, digest("no task"), "alpha")


def test_there_is_nothing_to_buy_from_a_task_that_does_not_exist(world):
    assert type(world.refused("reader", BuyAccess(digest("no task"), FEE))) is AccessError


def test_a_reader_without_the_money_gets_nothing(world):
    play = Play(world, simple(read_fee=10_000_001))

    assert world.refused("reader", BuyAccess(play.task, 2**62)).code == 411
