"""What waits for a block: each transaction and each nonce once, in equal shares."""

import pytest
from support.world import World

from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.pool import DurablePool, Pool
from tallystick.errors import RejectedError, UnavailableError
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import BadNonceError
from tallystick.storage.sqlite import MEMORY, LedgerStore


@pytest.fixture
def world():
    return World(audited=False)


@pytest.fixture
def store():
    made = LedgerStore(MEMORY)
    yield made
    made.close()


@pytest.fixture
def pool(world):
    """Return a pool with room for two transactions of each of four members."""
    return Pool(world.kernel, 8)


@pytest.fixture
def durable(world, store):
    return DurablePool(world.kernel, store, 8)


def pay(world, member="bravo", **envelope):
    return world.sign(member, Transfer("alpha", 1), **envelope)


def take(pool, world, *transactions, **options):
    return [pool.take(world.state, tx.wire, world.now, **options) for tx in transactions]


def test_what_waits_is_there_once_in_the_order_it_came(world, pool):
    sent = [pay(world), pay(world, "charlie"), pay(world)]
    take(pool, world, *sent, sent[0])

    assert [tx.hash for tx in pool.waiting()] == [tx.hash for tx in sent]
    assert len(pool) == 3
    assert sent[1].hash in pool
    assert bytes(32) not in pool
    assert [pool.used_by(name) for name in ("bravo", "charlie", "delta")] == [2, 1, 0]


def test_bytes_are_shared_as_places_are(world, store, monkeypatch):
    monkeypatch.setattr("tallystick.consensus.pool.MOST_BYTES", 0)  # a transaction's at least
    durable = DurablePool(world.kernel, store)
    sent, size = [], 0
    while size <= world.kernel.limits.transaction_bytes:
        sent.append(pay(world))
        size += len(sent[-1].wire)
    most = len(sent) - 1
    answers = durable.admit(world.state, [tx.wire for tx in sent], world.now)

    assert [isinstance(each, bytes) for each in answers] == [True] * most + [False]
    assert isinstance(answers[-1], RetryLaterError)
    assert isinstance(durable.admit(world.state, [pay(world, "charlie").wire], world.now)[0], bytes)
    durable.settle([sent[0].hash], ())
    assert durable.admit(world.state, [sent[-1].wire], world.now) == [sent[-1].hash]


def test_a_nonce_waits_once_and_is_free_when_its_transaction_goes(world, pool):
    older, newer = (world.sign("bravo", Transfer("alpha", n), nonce=1) for n in (1, 2))
    take(pool, world, older)
    with pytest.raises(BadNonceError):
        take(pool, world, newer)
    assert pool.drop(older.hash)
    take(pool, world, newer)

    assert [tx.hash for tx in pool.waiting()] == [newer.hash]


def test_the_same_nonce_of_another_member_is_another_one(world, pool):
    take(pool, world, *(pay(world, name, nonce=1) for name in ("bravo", "charlie")))

    assert len(pool) == 2


def test_each_member_has_the_same_share_and_no_more(world, pool):
    for name in ("alpha", "bravo", "charlie", "delta"):
        take(pool, world, pay(world, name), pay(world, name))
        with pytest.raises(RetryLaterError, match=f"'{name}' has 2 transactions waiting"):
            take(pool, world, pay(world, name))
    taken = pool.waiting()[0]
    assert take(pool, world, taken) == [taken]  # it is there already, so it takes no room
    pool.drop(taken.hash)

    take(pool, world, pay(world, taken.body.sender))
    assert len(pool) == 8


def test_what_was_taken_before_is_taken_whatever_the_share_is_now(world, pool):
    take(pool, world, *(pay(world) for _ in range(5)), fairly=False)

    assert pool.used_by("bravo") == 5


def test_what_is_not_there_cannot_go(world, pool):
    take(pool, world, pay(world))

    assert not pool.drop(bytes(32))
    assert pool.used_by("bravo") == 1


def test_what_is_refused_does_not_wait(world, pool):
    with pytest.raises(RejectedError):
        take(pool, world, pay(world, chain=bytes(32)))

    assert len(pool) == 0
    take(pool, world, pay(world, nonce=1))


def test_what_is_admitted_is_on_disk_before_it_counts(world, store, durable):
    sent = [pay(world), pay(world, chain=bytes(32)), pay(world), pay(world)]
    answers = durable.admit(world.state, [tx.wire for tx in (*sent, sent[0])], world.now)

    assert answers[0] == answers[4] == sent[0].hash
    assert answers[1].code == 103
    assert answers[2] == sent[2].hash
    assert isinstance(answers[3], RetryLaterError)
    assert sorted(store.held()) == sorted([sent[0].wire, sent[2].wire])


def test_what_could_not_be_kept_may_come_again(world, store, durable, monkeypatch):
    def full(*_):
        raise UnavailableError

    kept, lost = pay(world), pay(world)
    durable.admit(world.state, [kept.wire], world.now)
    with monkeypatch.context() as broken:
        broken.setattr(store, "hold", full)
        with pytest.raises(UnavailableError):
            durable.admit(world.state, [kept.wire, lost.wire], world.now)
    assert [tx.hash for tx in durable.waiting()] == [kept.hash]
    assert store.held() == [kept.wire]

    assert durable.admit(world.state, [lost.wire], world.now) == [lost.hash]


def test_what_was_kept_waits_again_and_the_rest_is_refused_with_a_reason(world, store, durable):
    good, late = pay(world), pay(world, "charlie", until=world.now + 5)
    spent = world.send("delta", Transfer("alpha", 1))
    durable.admit(world.state, [tx.wire for tx in (good, late, spent)], world.now)
    world.seal()
    store.hold([(b"junk", b"junk")])
    again = DurablePool(world.kernel, store, 8)
    refused = again.take_up(world.state, world.now)

    assert [tx.hash for tx in again.waiting()] == [good.hash]
    assert refused[late.hash].code == 105
    assert refused[spent.hash].code == 104
    assert sorted(error.code for error in refused.values()) == [101, 104, 105]
    again.settle((), [good.hash])
    assert good.wire not in store.held()


def test_more_than_a_share_waits_again_when_it_was_taken_once(world, store, durable):
    sent = [pay(world) for _ in range(2)]
    durable.admit(world.state, [tx.wire for tx in sent], world.now)
    smaller = DurablePool(world.kernel, store, 4)

    assert smaller.take_up(world.state, world.now) == {}
    assert len(smaller) == 2


def test_what_a_block_has_waits_no_more_and_what_is_spent_is_let_go(world, store, durable):
    included, spent, other = pay(world), pay(world), pay(world, "charlie")
    durable.admit(world.state, [tx.wire for tx in (included, spent, other)], world.now)
    store.release([included.hash])  # as writing the block does
    durable.settle([included.hash, bytes(32)], [spent.hash, bytes(31)])

    assert [tx.hash for tx in durable.waiting()] == [other.hash]
    assert store.held() == [other.wire]
    assert durable.used_by("bravo") == 0
