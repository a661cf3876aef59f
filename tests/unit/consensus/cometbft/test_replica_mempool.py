"""What a replica lets into the mempool, and what it says it took."""

import pytest
from support.world import secret_of

from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import InvariantError, RejectedError, UnavailableError
from tallystick.ledger.kernel import ShareExceededError
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import BadNonceError

HUGE = 2**60
WRONG = {
    "too large": ({"wire": bytes(64 * 1024 + 1)}, 101),
    "no transaction": ({"wire": b"no transaction"}, 101),
    "a stranger's": ({"member": "foxtrot"}, 102),
    "a key there is not": ({"key": 7}, 102),
    "another's signature": ({"secret": secret_of("charlie")}, 103),
    "of another ledger": ({"chain": bytes(32)}, 103),
    "a nonce that is spent": ({"nonce": 1}, 104),
    "expired": ({"until": 1}, 105),
    "valid for too long": ({"until": HUGE}, 105),
}


def code_of(refused):
    return None if refused is None else refused.code


@pytest.mark.parametrize(("wrong", "code"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("again", [False, True])
def test_what_no_block_can_hold_has_no_place_in_the_mempool(
    world, replica, decide, pay, wrong, code, again
):
    pay()
    decide(replica)
    given = {"member": "bravo", "message": Transfer("alpha", 1), **wrong}
    wire = given.pop("wire", None) or world.sign(**given).wire

    assert code_of(replica.check(wire, again=again)) == code
    assert replica.propose(world.now, [wire]) == []


def test_what_a_block_can_hold_has_its_place_and_keeps_it(world, replica, decide, pay):
    tx = pay()
    world.pending = []

    assert replica.check(tx.wire) is None
    assert replica.check(tx.wire) is None
    decide(replica)
    assert replica.check(tx.wire, again=True) is None


def test_of_two_transactions_with_one_nonce_the_older_keeps_its_place(world, replica):
    first, second = (world.sign("bravo", Transfer("alpha", n), nonce=1) for n in (1, 2))
    replica.check(first.wire)

    assert isinstance(replica.check(second.wire), BadNonceError)
    assert replica.check(first.wire, again=True) is None


def test_members_have_equal_shares_of_the_mempool(world, make_replica, decide, pay, monkeypatch):
    monkeypatch.setattr("tallystick.consensus.cometbft.mempool.MOST_MEMPOOL", 8)
    replica = make_replica()
    mine = [pay().wire for _ in range(3)]

    assert [code_of(replica.check(wire)) for wire in mine[:2]] == [None, None]
    assert isinstance(replica.check(mine[2]), RetryLaterError)
    assert replica.check(pay("charlie").wire) is None
    decide(replica)
    assert replica.check(pay().wire) is None
    assert replica.check(pay().wire) is None
    assert isinstance(replica.check(pay().wire), RetryLaterError)


def test_a_mempool_that_is_smaller_has_smaller_shares(make_replica, pay):
    replica = make_replica(most_pending=4)

    assert replica.check(pay().wire) is None
    assert isinstance(replica.check(pay().wire), RetryLaterError)


def test_a_block_holds_what_waits_behind_more_than_cometbft_shows(world, replica, pay):
    first, last = pay(), pay("charlie")
    for tx in (first, last):
        replica.check(tx.wire)

    assert replica.propose(world.now, [first.wire]) == [first.wire, last.wire]


def test_what_cometbft_dropped_takes_up_no_share_after_the_next_block(
    world, make_replica, decide, pay, monkeypatch
):
    monkeypatch.setattr("tallystick.consensus.cometbft.mempool.MOST_MEMPOOL", 8)
    replica = make_replica()
    kept, dropped = pay().wire, pay().wire
    for wire in (kept, dropped):
        replica.check(wire)
    world.pending = []
    decide(replica)
    replica.check(kept, again=True)
    assert isinstance(replica.check(pay().wire), RetryLaterError)
    world.pending = []
    decide(replica)
    replica.check(kept, again=True)

    assert replica.check(pay().wire) is None
    assert isinstance(replica.check(pay().wire), RetryLaterError)


def test_a_second_look_drops_what_was_refused_when_a_block_was_proposed(world, replica):
    tx = world.sign("bravo", Transfer("alpha", HUGE))
    assert replica.check(tx.wire) is None
    assert replica.propose(world.now, [tx.wire]) == []

    assert code_of(replica.check(tx.wire, again=True)) == 411
    assert replica.outcome(tx.hash).code == 411


def test_a_second_look_drops_what_has_expired_or_is_in_a_block(world, replica, decide, clock, pay):
    late, done = pay("charlie", until=world.now + 5000), pay()
    for tx in (late, done):
        assert replica.check(tx.wire) is None
    world.pending = [done]
    decide(replica)
    assert replica.check(late.wire, again=True) is None
    clock[0] = world.now + 5000

    assert code_of(replica.check(late.wire, again=True)) == 105
    assert code_of(replica.check(done.wire, again=True)) == 104


# --- what is handed in here -----------------------------------------------------------------------


def test_what_was_taken_here_waits_in_the_order_of_its_sender(world, replica, pay):
    sent = [pay("charlie"), pay(), pay("charlie"), pay()]
    for tx in reversed(sent):
        assert replica.submit(tx.wire) == tx.hash

    assert list(replica.waiting().values()) == [sent[at].wire for at in (1, 3, 0, 2)]
    assert replica.pending == 4
    assert replica.outcome(sent[0].hash) is None
    assert replica.refuses_for_good is False


def test_what_is_not_taken_is_told_why_and_the_others_are_taken(world, make_replica, pay):
    replica = make_replica(most_pending=8)
    bad = world.sign("bravo", Transfer("alpha", 1), chain=bytes(32))
    sent = [pay().wire, bad.wire, pay().wire, pay().wire]
    answers = replica.admit(sent, world.now)

    assert [type(each) for each in answers[::2]] == [bytes, bytes]
    assert answers[1].code == 103
    assert isinstance(answers[3], RetryLaterError)
    with pytest.raises(RejectedError):
        replica.submit(bad.wire)
    with pytest.raises(RetryLaterError):
        replica.submit(sent[3])


def test_what_was_taken_waits_again_after_a_restart_until_a_block_has_it(
    world, make_replica, decide, pay
):
    replica = make_replica()
    first, second = pay(), pay("charlie")
    for tx in (first, second):
        replica.submit(tx.wire)
    replica.close()
    again = make_replica()
    assert list(again.waiting().values()) == [first.wire, second.wire]
    world.pending = [first]
    decide(again)
    again.close()

    assert list(make_replica().waiting().values()) == [second.wire]


def test_what_no_block_can_hold_after_a_restart_is_refused_with_a_reason(
    world, make_replica, decide, pay
):
    replica = make_replica()
    older, newer = (world.sign("bravo", Transfer("alpha", n), nonce=n) for n in (1, 2))
    replica.submit(older.wire)
    world.pending = [newer]
    decide(replica)
    replica.close()
    again = make_replica()

    assert again.waiting() == {}
    assert again.outcome(older.hash).code == 104
    assert again.outcome(newer.hash).code == 0


def test_what_cometbft_has_no_room_for_is_forgotten_and_may_come_again(
    world, make_replica, pay, tmp_path
):
    replica = make_replica()
    tx = pay()
    replica.submit(tx.wire)
    assert replica.holds(tx.hash)
    replica.give_back(tx.hash)

    assert not replica.holds(tx.hash)
    assert replica.outcome(tx.hash) is None
    replica.close()
    again = make_replica()
    assert again.waiting() == {}
    assert again.submit(tx.wire) == tx.hash


def test_what_no_block_can_hold_any_more_is_forgotten_with_its_reason(world, replica, clock, pay):
    poor = world.sign("bravo", Transfer("alpha", HUGE))
    late, good = pay("charlie", until=world.now + 500), pay("delta")
    for tx in (poor, late, good):
        replica.submit(tx.wire)
    clock[0] = world.now + 501
    replica.reconsider(set(replica.waiting()))

    assert list(replica.waiting().values()) == [good.wire]
    assert [replica.outcome(tx.hash).code for tx in (poor, late)] == [411, 105]
    assert replica.outcome(good.hash) is None


def test_a_refusal_that_is_remembered_holds_on_to_nothing(world, replica):
    poor = world.sign("bravo", Transfer("alpha", HUGE))
    replica.submit(poor.wire)
    replica.reconsider(set(replica.waiting()))
    known = replica.outcome(poor.hash)

    assert (known.__traceback__, known.__cause__, known.__context__) == (None, None, None)
    assert replica.check(poor.wire, again=True) is known
    assert known.__traceback__ is None


def test_what_others_may_pay_for_is_not_executed_to_find_out(world, replica, clock):
    poor = world.sign("bravo", Transfer("alpha", HUGE))
    late = world.sign("charlie", Transfer("alpha", 1), until=world.now + 500)
    replica.submit(poor.wire)
    replica.submit(late.wire)
    clock[0] = world.now + 501
    replica.reconsider(())

    assert list(replica.waiting()) == [poor.hash]
    assert replica.outcome(late.hash).code == 105


def test_what_waits_only_for_its_share_of_a_block_is_not_forgotten(world, replica, monkeypatch):
    def wait(*_, **__):
        raise ShareExceededError

    monkeypatch.setattr("tallystick.ledger.kernel._Run.execute", wait)
    tx = world.sign("bravo", Transfer("alpha", 1))
    replica.submit(tx.wire)
    replica.reconsider(set(replica.waiting()))

    assert list(replica.waiting().values()) == [tx.wire]
    assert replica.outcome(tx.hash) is None


def test_what_is_handed_in_once_more_is_tried_once_more(world, replica, pay, decide):
    poor = world.sign("bravo", Transfer("alpha", 10_000_050))
    replica.submit(poor.wire)
    replica.reconsider(set(replica.waiting()))
    assert replica.outcome(poor.hash).code == 411
    world.send("charlie", Transfer("bravo", 100))
    decide(replica)
    replica.submit(poor.wire)

    assert replica.outcome(poor.hash) is None
    assert replica.check(poor.wire) is None
    assert replica.check(poor.wire, again=True) is None
    assert replica.propose(world.now, [poor.wire]) == [poor.wire]


def test_the_reasons_of_old_refusals_are_forgotten_before_they_fill_the_memory(
    world, replica, monkeypatch
):
    monkeypatch.setattr("tallystick.consensus.cometbft.replica.MOST_REFUSED", 2)
    sent = [world.sign("bravo", Transfer("alpha", HUGE + n)) for n in range(3)]
    for tx in sent:
        replica.propose(world.now, [tx.wire])

    assert [code_of(replica.outcome(tx.hash)) for tx in sent] == [None, 411, 411]


def test_nothing_counts_as_taken_when_the_disk_fails(world, replica, pay, monkeypatch):
    def full(*_):
        raise UnavailableError

    tx = pay()
    with monkeypatch.context() as broken:
        broken.setattr(replica._store, "hold", full)
        with pytest.raises(UnavailableError):
            replica.submit(tx.wire)
    assert replica.pending == 0

    assert replica.submit(tx.wire) == tx.hash


def test_without_a_decided_block_nothing_is_written(replica):
    with pytest.raises(InvariantError):
        replica.commit()
    assert replica.head.height == 0
