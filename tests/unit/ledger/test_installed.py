"""A rule that some have installed and others have not: nobody goes another way than the rest."""

import pytest
from msgspec.structs import replace
from support.terms import simple
from support.world import World, digest

from tallystick.ledger.collect import recipe
from tallystick.ledger.collect.installed import UninstalledRuleError, check_live
from tallystick.ledger.messages import ProposeTask
from tallystick.ledger.terms import Pin
from tallystick.mechanisms import registry

RULE = "decide/all/1"


@pytest.fixture
def world():
    return World(audited=False)


@pytest.fixture
def without(monkeypatch):
    """Return what takes a rule away, as on a machine that does not have it."""

    def act():
        recipe._compiled.cache_clear()
        monkeypatch.delitem(registry._RULES, RULE)

    yield act
    recipe._compiled.cache_clear()


def test_terms_with_a_rule_that_is_not_here_enter_no_block(world, without):
    tx = world.send("alpha", ProposeTask(simple()))
    without()
    outcome = world.seal()

    assert outcome.transactions == ()
    assert [error.code for _, error in outcome.refused] == [522]
    assert tx.hash == outcome.refused[0][0].hash


def test_a_block_with_such_terms_is_not_judged_where_the_rule_is_lacking(world, without):
    block = world.forced(world.sign("alpha", ProposeTask(simple()))).block
    assert world.kernel.apply(world.state, world.head, block).receipts[0].code == 0
    without()

    with pytest.raises(UninstalledRuleError, match=r"stage 'decide': .* is not installed here"):
        world.kernel.apply(world.state, world.head, block)


def test_terms_that_pin_another_version_enter_no_block_wherever_they_come(world):
    terms = replace(simple(), pins=(Pin(RULE, digest("another")),))

    assert world.refused("alpha", ProposeTask(terms)).code == 522


def test_a_ledger_whose_running_task_lacks_its_rule_says_so(world, without):
    world.accept("alpha", ProposeTask(simple()))
    check_live(world.state)
    without()

    with pytest.raises(UninstalledRuleError, match=RULE):
        check_live(world.state)
