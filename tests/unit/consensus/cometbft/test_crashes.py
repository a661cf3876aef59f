"""Nodes end anywhere, start again, and are where the others are."""

import logging
from contextlib import closing

import pytest
from support.fake_comet import POINTS, Connection, CrashError, Decision, FailedError, framed
from support.validators import VALIDATOR, new_key
from support.world import public_of

from tallystick.errors import UnavailableError
from tallystick.ledger.messages import Unseat
from tallystick.storage.sqlite import LedgerStore

# What the application has when it starts again, if the crash came in block 2.
HEIGHTS = {
    "prepared": 1,
    "processed": 1,
    "finalized": 1,
    "writing": 1,
    "committed": 2,
    "saved": 2,
}


def pay_and_decide(network, world, pay, *, crash="", proposer=0):
    """Decide a block with two transactions; one node may end on the way."""
    sent = [pay(), pay("charlie")]
    network.hand_in(*(tx.wire for tx in sent))
    network.comets[0].crash_at = crash
    try:
        network.decide(proposer=proposer)
    except CrashError:  # before there was a block: somebody else proposes
        network.time -= 1000
        world.pending = []
        network.bring_back(0)
        network.hand_in(*(tx.wire for tx in sent))
        world.pending = sent
        network.decide(proposer=1)
    return world.seal()


@pytest.mark.parametrize("point", POINTS)
def test_wherever_a_node_ends_it_comes_back_to_where_the_others_are(
    world, make_network, pay, point
):
    network = make_network()
    pay_and_decide(network, world, pay)
    outcome = pay_and_decide(network, world, pay, crash=point)
    comet = network.comets[0]
    if comet.app.is_running:  # it has come back already
        assert point == "prepared"
    else:
        with closing(LedgerStore(comet.app.path)) as store:
            assert store.head().height == HEIGHTS[point]
        network.bring_back(0)
    assert comet.app.replica.head == network.comets[1].app.replica.head == outcome.header
    pay_and_decide(network, world, pay)

    assert {each.app.replica.head for each in network.comets} == {world.head}


def test_a_node_that_ends_in_every_block_at_another_place_keeps_up(world, make_network, pay):
    network = make_network()
    for place in range(12):
        pay_and_decide(network, world, pay, crash=POINTS[place % len(POINTS)])
        if not network.comets[0].app.is_running:
            network.bring_back(0)

    assert {each.app.replica.head for each in network.comets} == {world.head}
    assert [block.header.height for block in network.comets[0].app.replica.blocks()] == list(
        range(1, 13)
    )


def test_a_node_that_was_away_executes_what_it_never_voted_on(world, make_network, pay):
    network = make_network()
    network.comets[3].kill()
    world.vote(Unseat("delta"))
    for outcome in world.outcomes:
        network.hand_in(*outcome.block.transactions)
        network.decide()
    network.comets[3].start()
    network.comets[3].calls.clear()
    network.catch_up(network.comets[3])

    assert set(network.comets[3].calls) == {"finalize_block", "commit"}
    assert public_of("delta", VALIDATOR) not in network.comets[3].power


def test_all_nodes_may_end_at_once(world, make_network, pay):
    network = make_network()
    pay_and_decide(network, world, pay)
    for place, comet in enumerate(network.comets):
        comet.crash_at = ("finalized", "writing", "committed", "saved")[place]
    network.hand_in(pay().wire)
    network.time += 1000
    block = network.propose(0)
    for comet in network.comets:
        with pytest.raises(CrashError):
            comet.apply(block)
    network.blocks.append(block)
    for comet in network.comets:
        comet.start()
    network.check_equal()

    assert {each.app.replica.head for each in network.comets} == {world.seal().header}


def test_an_application_that_lost_blocks_has_them_again(world, comet, pay):
    """As when its disk was put back to an earlier day."""
    for _ in range(3):
        if world.head.height == 1:
            comet.app.copy_disk()
        pay()
        outcome = world.seal()
        comet.apply(
            Decision(outcome.header.height, outcome.header.time, outcome.block.transactions)
        )
    comet._die()
    comet.calls.clear()
    comet.start()

    assert comet.calls == ["info", *["finalize_block", "commit"] * 2]
    assert comet.app.replica.head == world.head


def test_an_application_ahead_of_its_cometbft_is_not_gone_on_with(world, comet, pay):
    pay()
    outcome = world.seal()
    comet.apply(Decision(1, outcome.header.time, outcome.block.transactions))
    comet.kill()
    comet.blocks.clear()
    comet.state_height = 0

    with pytest.raises(FailedError, match="has block 1, CometBFT has 0"):
        comet.start()


def test_a_crash_before_the_first_block_founds_the_ledger_once_more(world, comet):
    comet.kill()
    comet.calls.clear()
    comet.start()

    assert comet.calls == ["info", "init_chain"]
    assert comet.hashes[0] == world.head.state_root


def test_what_was_taken_outlives_any_crash_until_a_block_has_it(world, make_network, pay):
    network = make_network()
    kept = pay("delta")
    world.pending = []
    replica = network.comets[0].app.replica
    assert replica.admit([kept.wire], world.now) == [kept.hash]
    for point in POINTS[1:]:
        pay_and_decide(network, world, pay, crash=point)
        network.bring_back(0)
        assert network.comets[0].app.replica.waiting() == {kept.hash: kept.wire}
    network.hand_in(kept.wire)
    network.decide()

    assert network.comets[0].app.replica.waiting() == {}
    assert network.comets[0].app.replica.outcome(kept.hash).code == 0
    assert network.comets[3].app.replica.outcome(kept.hash).code == 0


def test_validators_change_on_all_nodes_alike_whoever_ends(world, make_network):
    network = make_network()
    world.accept("bravo", new_key(world, "bravo"))
    world.vote(Unseat("delta"))
    for place, outcome in enumerate(world.outcomes):
        comet = network.comets[place % 4]
        comet.crash_at = POINTS[2 + place % 4]
        for each in network.running:
            each.check(*outcome.block.transactions)
        network.decide(proposer=(place + 1) % 4)
        network.bring_back(place % 4)

    assert network.comets[0].power == world.power
    assert network.comets[0].app.replica.head == world.head


def test_garbage_on_one_connection_leaves_the_others_as_they_were(world, comet, pay, caplog):
    caplog.set_level(logging.CRITICAL)
    for garbage in (b"\xff" * 9, framed(b"\xff\xff"), framed(bytes(100))[:50]):
        stray = Connection(comet.app.socket)
        stray.socket.sendall(garbage)
        stray.close()
    pay()
    outcome = world.seal()
    comet.apply(Decision(1, outcome.header.time, outcome.block.transactions))

    assert comet.app.replica.head == outcome.header


def test_no_second_process_opens_the_ledger_meanwhile(comet):
    with pytest.raises(UnavailableError, match="in use"):
        comet.app.__class__(comet.app.folder, comet.genesis).start()
