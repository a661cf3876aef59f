"""What is handed in at a node: kept, handed over to CometBFT in order, and given up."""

import time

import pytest
from support.relays import until

from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import RejectedError, UnavailableError
from tallystick.ledger.messages import Transfer, Upgrade
from tallystick.node import relay as module

# --- transactions ---------------------------------------------------------------------------------


def test_what_is_acknowledged_is_kept_and_handed_over(site):
    site.start()
    tx = site.pay()
    tx_hash, given = site.submit(tx)

    assert (tx_hash, given.tx, given.height) == (tx.hash, tx.hash, 0)
    assert site.rpc.taken[0] == tx.wire
    assert site.replica.waiting() == {tx.hash: tx.wire}


def test_what_is_refused_is_handed_over_to_nobody(site):
    site.start()
    with pytest.raises(RejectedError):
        site.submit(site.pay(chain=bytes(32)))

    assert site.rpc.taken == []


def test_it_is_handed_over_again_until_a_block_has_it(site):
    site.start()
    tx = site.pay()
    site.submit(tx)
    site.rpc.wait_for(3)
    assert set(site.rpc.taken) == {tx.wire}
    site.decide()
    until(lambda: not site.relay._late)
    handed = len(site.rpc.taken)
    time.sleep(0.1)

    assert len(site.rpc.taken) == handed
    assert site.relay.outcome(tx.hash).code == 0


def test_what_could_be_in_none_of_several_blocks_is_handed_over_no_more(site):
    site.start()
    tx = site.world.sign("bravo", Transfer("alpha", 2**60))
    site.submit(tx)
    for _ in range(module.LEFT_OUT_BLOCKS):
        site.rpc.wait_for(len(site.rpc.taken) + 2)
        assert site.relay.outcome(tx.hash) is None
        site.decide()
    until(lambda: site.relay.outcome(tx.hash) is not None)

    assert site.relay.outcome(tx.hash).code == 411
    assert site.replica.waiting() == {}


def test_what_rests_on_another_transaction_is_kept_while_nothing_is_decided(site):
    site.start()
    poor = site.world.sign("bravo", Transfer("alpha", 10_000_050))
    site.submit(poor)  # another node was handed what pays for it
    site.rpc.wait_for(20)
    site.world.send("charlie", Transfer("bravo", 100))
    site.decide()
    site.world.pending.append(poor)
    site.decide()

    assert site.relay.outcome(poor.hash).code == 0


def test_what_was_acknowledged_earlier_is_not_overtaken(site, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_SECONDS", 1000.0)
    site.rpc.dead = True
    site.start()
    first, second, third = (site.pay(nonce=nonce) for nonce in (1, 2, 3))
    site.submit(first)
    site.submit(second)
    site.rpc.dead = False
    site.submit(third)

    assert site.rpc.taken == [first.wire, second.wire, third.wire]


def test_what_was_taken_before_a_restart_is_not_overtaken_after_it(site, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_SECONDS", 1000.0)
    site.rpc.dead = True
    site.start()
    first, second = (site.pay(nonce=nonce) for nonce in (1, 2))
    site.submit(first)
    site.close()
    site.rpc.dead = False
    site.open().start()
    site.submit(second)

    assert site.rpc.taken == [first.wire, second.wire]


def test_while_cometbft_is_away_transactions_are_kept_and_handed_over_later(site):
    site.rpc.dead = True
    site.start()
    tx = site.pay()
    tx_hash, _ = site.submit(tx)
    assert tx_hash == tx.hash
    assert site.rpc.taken == []
    site.rpc.dead = False
    site.rpc.wait_for(1)

    assert site.rpc.taken[0] == tx.wire


def test_what_was_taken_before_a_restart_is_handed_over_after_it(site):
    site.rpc.dead = True
    site.start()
    tx = site.pay()
    site.submit(tx)
    site.close()
    site.rpc.dead = False
    site.open().start()
    site.rpc.wait_for(1)

    assert site.rpc.taken[0] == tx.wire


def test_a_full_mempool_is_told_to_whoever_hands_in_and_nothing_is_kept(site):
    site.rpc.full = True
    site.start()
    tx = site.pay()
    with pytest.raises(RetryLaterError):
        site.submit(tx)
    assert site.replica.waiting() == {}
    site.rpc.full = False

    assert site.submit(tx)[0] == tx.hash
    assert site.replica.waiting() == {tx.hash: tx.wire}


def test_what_was_acknowledged_stays_taken_however_full_the_mempool_gets(site):
    site.start()
    tx = site.pay()
    site.submit(tx)
    site.rpc.full = True

    assert site.submit(tx)[0] == tx.hash
    assert site.replica.waiting() == {tx.hash: tx.wire}


def test_the_same_transaction_twice_at_once_is_kept_if_either_was_taken(site, monkeypatch):
    tx = site.pay()
    monkeypatch.setattr(site.rpc, "broadcast", lambda _: [None, RetryLaterError("full")])

    answers = site.relay._admit([tx.wire, tx.wire])
    assert answers == [tx.hash, tx.hash]
    assert site.replica.holds(tx.hash)


def test_once_stopped_it_takes_nothing(site):
    site.start()
    assert site.relay.works
    site.relay.stop()

    assert not site.relay.works
    with pytest.raises(UnavailableError, match="stopping"):
        site.submit(site.pay())


def test_a_ledger_that_cannot_go_on_takes_nothing_and_says_why(site):
    site.start()
    site.world.vote(Upgrade(2, 2))
    for outcome in site.world.outcomes:
        site.follow(outcome)

    assert not site.relay.works
    assert "protocol 2" in site.relay.facts()["failure"]
    with pytest.raises(UnavailableError):
        site.submit(site.pay())


def test_what_cometbft_did_not_take_goes_before_what_comes_next(site, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_SECONDS", 1000.0)
    site.start()
    first, second = (site.pay(nonce=nonce) for nonce in (1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(site.rpc, "broadcast", lambda wires: [UnavailableError("odd") for _ in wires])
        site.submit(first)
    site.submit(second)

    assert site.rpc.taken == [first.wire, second.wire]
