"""What a replica makes of blocks: proposed, voted on, decided, written, and begun after."""

import shutil

import pytest
from msgspec.structs import replace
from support.play import Play
from support.terms import simple
from support.world import digest

from tallystick.consensus.cometbft.replica import CannotJudgeError
from tallystick.errors import InvariantError, UnavailableError
from tallystick.ledger import dispatch, transaction
from tallystick.ledger import kernel as kernel_module
from tallystick.ledger.messages import RegisterDataset, Transfer, Upgrade

HUGE = 2**60


@pytest.fixture
def executions(replica, monkeypatch):
    """Return the times of the blocks that were executed because somebody else proposed them."""
    times, execute = [], replica.kernel.execute

    def count(state, parent, time, *rest):
        times.append(time)
        return execute(state, parent, time, *rest)

    monkeypatch.setattr(replica.kernel, "execute", count)
    return times


def crash(*_):
    raise ValueError


def wires_of(*transactions):
    return [tx.wire for tx in transactions]


# --- proposing ------------------------------------------------------------------------------------


def test_a_proposal_leaves_out_what_is_refused_and_remembers_why(world, replica, pay):
    good, poor = pay(), world.sign("charlie", Transfer("alpha", HUGE))
    late = world.sign("delta", Transfer("alpha", 1), until=world.now)
    chosen = replica.propose(world.now + 1000, [poor.wire, b"junk", late.wire, good.wire])

    assert chosen == [good.wire]
    assert replica.refusal(1, world.now + 1000, chosen) == ""
    assert [replica.outcome(tx.hash).code for tx in (poor, late)] == [411, 105]


def test_a_proposal_leaves_out_what_makes_us_fail(world, replica, pay, monkeypatch):
    monkeypatch.setitem(dispatch.HANDLERS, RegisterDataset, crash)
    good, bad = pay(), world.sign("charlie", RegisterDataset(digest("x"), 5))
    replica.submit(bad.wire)

    assert replica.propose(world.now, wires_of(bad, good)) == [good.wire]
    assert replica.outcome(bad.hash).code == 111
    assert replica.pending == 0


def test_a_proposal_is_in_canonical_order_whatever_came_first(world, replica, pay):
    sent = [pay(), pay("alpha"), pay("charlie"), pay()]

    assert replica.propose(world.now, wires_of(*reversed(sent))) == wires_of(
        sent[1], sent[0], sent[3], sent[2]
    )


def test_of_a_full_block_each_member_has_its_share_and_the_rest_waits(
    world, make_replica, pay, monkeypatch
):
    replica = make_replica()
    first, second, other = pay(), pay(), pay("charlie")
    size = len(first.wire) + 2
    limits = replace(replica.kernel.limits, block_bytes=4 * size, transaction_bytes=size)
    monkeypatch.setattr(replica.kernel, "limits", limits)
    replica.submit(second.wire)
    chosen = replica.propose(world.now, wires_of(first, second, other))

    assert chosen == wires_of(first, other)
    assert replica.outcome(second.hash) is None
    assert replica.holds(second.hash)
    assert "share" in replica.refusal(1, world.now, wires_of(first, second, other))


# --- voting ---------------------------------------------------------------------------------------


def test_a_block_that_may_be_decided_has_nothing_wrong(world, replica, pay):
    assert replica.refusal(1, world.now, []) == ""
    assert replica.refusal(1, world.now, wires_of(pay())) == ""


def test_what_is_wrong_with_a_block_is_named(world, replica, decide, pay, monkeypatch):
    pay()
    decide(replica)
    first, second, poor = pay(), pay(), world.sign("charlie", Transfer("alpha", HUGE))
    strange = world.sign("bravo", Transfer("alpha", 1), chain=bytes(32))
    spent = world.sign("bravo", Transfer("alpha", 1), nonce=1)

    def wrong(height, *transactions):
        return replica.refusal(height, world.now + 1, wires_of(*transactions))

    assert "canonical order" in wrong(2, second, first)
    assert "canonical order" in wrong(2, first, first)
    assert "bad-signature" in wrong(2, strange)
    assert "nonce 1; the last accepted one is 1" in wrong(2, spent)
    assert "refused before execution" in replica.refusal(2, world.now, [b"junk"])
    assert wrong(2, poor) == ""  # it stays in with its code
    monkeypatch.setitem(dispatch.HANDLERS, Transfer, crash)
    assert "faults: ValueError" in replica.refusal(2, world.now + 2, wires_of(first))


@pytest.mark.parametrize("height", [1, 3])
def test_a_block_of_another_height_is_not_judged(world, replica, decide, pay, height):
    decide(replica)

    with pytest.raises(CannotJudgeError, match="does not follow block 1"):
        replica.refusal(height, world.now + 1, wires_of(pay()))


def test_what_is_refused_in_a_block_that_others_decided_keeps_its_code(world, replica):
    poor = world.sign("charlie", Transfer("alpha", HUGE))
    decided = replica.finalize(1, world.now, wires_of(poor))
    replica.commit()

    assert [each.code for each in decided.outcome.receipts] == [411]
    assert replica.outcome(poor.hash).code == 411


# --- executing once -------------------------------------------------------------------------------


def test_a_block_is_executed_once_whoever_asks(world, replica, executions, pay):
    pay()
    outcome = world.seal()
    at, wires = outcome.header.time, outcome.block.transactions
    for _ in range(3):
        assert replica.refusal(1, at, wires) == ""
    replica.finalize(1, at, list(wires))
    replica.finalize(1, at, wires)
    replica.commit()

    assert executions == [at]
    assert replica.head == outcome.header


def test_its_own_proposal_is_not_executed_again(world, replica, executions, pay):
    tx = pay()
    at = world.seal().header.time
    wires = replica.propose(at, wires_of(tx))
    assert replica.refusal(1, at, wires) == ""
    replica.finalize(1, at, wires)
    replica.commit()

    assert executions == []
    assert replica.head == world.head


def test_what_is_in_the_mempool_is_decoded_once(world, replica, pay, monkeypatch):
    decoded, parse = [], kernel_module.parse_transaction

    def count(wire, limits):
        decoded.append(wire)
        return parse(wire, limits)

    monkeypatch.setattr(kernel_module, "parse_transaction", count)
    known, new = pay(), pay("charlie")
    assert replica.check(known.wire) is None
    chosen = replica.propose(world.now, wires_of(known, new))
    assert replica.refusal(1, world.now + 1, chosen) == ""
    assert replica.check(known.wire, again=True) is None

    assert decoded == [known.wire, new.wire, new.wire]


def test_another_time_or_another_block_of_the_same_height_is_executed(
    world, replica, executions, pay
):
    first, second = pay(), pay("charlie")
    at = world.now + 5
    for time, sent in ((at, [first]), (at + 1, [first]), (at, [first, second]), (at, [first])):
        assert replica.refusal(1, time, wires_of(*sent)) == ""

    assert executions == [at, at + 1, at]


def test_what_was_executed_is_forgotten_after_the_block(world, replica, executions, decide, pay):
    pay()
    decide(replica)
    world.seal()
    replica.finalize(2, world.now, [])
    replica.commit()

    assert len(executions) == 2
    assert replica.head == world.head
    assert replica._executed == {}


# --- verifying ahead ------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [8, 10_000])
def test_verifying_ahead_changes_nothing(world, make_replica, pay, monkeypatch, few):
    monkeypatch.setattr("tallystick.consensus.cometbft.mempool.FEW", few)
    replica = make_replica()
    for _ in range(10):
        for name in ("alpha", "bravo", "charlie", "delta"):
            pay(name)
    outcome = world.seal()
    transaction._verified.clear()
    found = replica.finalize(1, outcome.header.time, outcome.block.transactions)

    assert found.outcome.header == outcome.header
    assert found.outcome.receipts == outcome.receipts


@pytest.mark.parametrize("place", [0, 7, 19])
@pytest.mark.parametrize("few", [8, 10_000])
def test_verifying_ahead_hides_nothing_that_is_wrong(
    world, make_replica, pay, monkeypatch, place, few
):
    monkeypatch.setattr("tallystick.consensus.cometbft.mempool.FEW", few)
    replica = make_replica()
    sent = [pay().wire for _ in range(20)]
    broken = sent[place][:-1] + bytes([sent[place][-1] ^ 1])
    transaction._verified.clear()

    assert "bad-signature" in replica.refusal(
        1, world.now, [*sent[:place], broken, *sent[place + 1 :]]
    )
    assert "refused before execution" in replica.refusal(
        1, world.now, [*sent[:place], b"junk", *sent[place + 1 :]]
    )
    assert replica.refusal(1, world.now, sent) == ""


def test_signatures_are_verified_before_the_block_is_executed(world, replica, pay, monkeypatch):
    sent = [pay().wire for _ in range(20)]
    transaction._verified.clear()
    replica._mempool.verify_ahead(replica.state, sent)

    assert len(transaction._verified) == 20
    monkeypatch.setattr(transaction.keys, "is_valid", crash)
    replica.finalize(1, world.now, sent)


# --- deciding and writing -------------------------------------------------------------------------


def test_what_cannot_be_executed_and_was_decided_stops_the_node(world, replica, pay):
    first, second = pay(), pay()
    with pytest.raises(InvariantError, match="block 1 was decided and cannot be executed"):
        replica.finalize(1, world.now, wires_of(second, first))
    for height in (0, 2):
        with pytest.raises(InvariantError, match="block 0 is the newest"):
            replica.finalize(height, world.now, [])


def test_a_block_is_nowhere_before_it_is_written(world, replica, pay):
    tx = pay()
    before = replica.state.root
    replica.submit(tx.wire)
    replica.finalize(1, world.now, wires_of(tx))

    assert (replica.head.height, replica.state.root) == (0, before)
    assert replica.outcome(tx.hash) is None
    assert replica.holds(tx.hash)
    assert list(replica.blocks()) == []


def test_once_written_a_block_survives_power_loss(world, make_replica, decide, pay, tmp_path):
    replica = make_replica()
    tx = pay()
    replica.submit(tx.wire)
    decide(replica)
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"ledger.sqlite{suffix}", tmp_path / f"copy.sqlite{suffix}")
    again = make_replica("copy.sqlite")

    assert again.head == world.head
    assert dict(again.state.rows()) == dict(world.state.rows())
    assert again.outcome(tx.hash).code == 0
    assert again.waiting() == {}
    assert [block.header for block in again.blocks()] == [world.head]


def test_a_block_the_disk_has_no_room_for_can_be_written_later(world, replica, monkeypatch, decide):
    outcome = world.seal()
    replica.finalize(1, outcome.header.time, [])
    with monkeypatch.context() as broken:
        broken.setattr(replica._store, "commit", _no_room)
        with pytest.raises(UnavailableError):
            replica.commit()
    assert replica.head.height == 0
    replica.commit()

    assert replica.head == outcome.header
    decide(replica)


def _no_room(*_):
    raise UnavailableError


def test_listeners_hear_of_each_block_once_it_is_written(replica, decide, world, pay):
    heard = []
    replica.listen(lambda outcome: heard.append((outcome.header, replica.head)))
    for _ in range(2):
        pay()
        decide(replica)

    assert heard == [(outcome.header, outcome.header) for outcome in world.outcomes]


def test_time_does_not_go_back(world, replica, decide, clock):
    clock[0] = world.now - 5
    assert replica.now == world.now
    decide(replica)
    clock[0] = world.now + 7
    assert replica.now == world.now + 7


# --- a protocol this program does not know --------------------------------------------------------


def test_a_node_stops_before_a_block_it_cannot_execute_and_says_why(
    world, make_replica, decide, monkeypatch
):
    monkeypatch.setattr(kernel_module, "KNOWN", frozenset({1, 2}))
    replica = make_replica()
    world.vote(Upgrade(2, 3))
    for outcome in world.outcomes:
        decided = replica.finalize(
            outcome.header.height, outcome.header.time, outcome.block.transactions
        )
        assert decided.version is None
        replica.commit()
    world.seal()
    monkeypatch.setattr(kernel_module, "KNOWN", frozenset({1}))
    assert replica.finalize(3, world.now, []).version == 2
    replica.commit()

    assert "protocol 2; this program knows 1" in replica.failure
    for act in (
        lambda: replica.propose(world.now, []),
        lambda: replica.refusal(4, world.now, []),
        lambda: replica.finalize(4, world.now, []),
    ):
        with pytest.raises(InvariantError, match="protocol 2"):
            act()
    replica.close()
    again = make_replica()
    assert again.failure == replica.failure
    assert again.head == world.head
    again.close()
    monkeypatch.setattr(kernel_module, "KNOWN", frozenset({1, 2}))
    upgraded = make_replica()
    assert upgraded.failure == ""
    decide(upgraded)


# --- beginning with a state -----------------------------------------------------------------------


@pytest.fixture
def grown(world):
    """Return a world with records on the log of a task."""
    play = Play(world, simple(rounds=3))
    play.until_round(2)
    return play


def test_a_ledger_begun_later_goes_on_like_the_others(world, grown, make_replica, decide):
    start = len(world.outcomes)
    leaves = len(world.leaves[grown.task])
    replica = make_replica()
    replica.restore(dict(world.state.rows()), world.head)
    assert replica.head == world.head
    assert (replica.proven, list(replica.blocks())) == (world.head.height, [])
    grown.finish()
    for outcome in world.outcomes[start:]:
        replica.finalize(outcome.header.height, outcome.header.time, outcome.block.transactions)
        replica.commit()
    replica.close()
    again = make_replica()

    assert again.head == world.head
    assert dict(again.state.rows()) == dict(world.state.rows())
    assert [leaf for _, leaf in again.leaves(grown.task, leaves)] == world.leaves[grown.task][
        leaves:
    ]
    assert list(again.leaves(grown.task, len(world.leaves[grown.task]))) == []


def test_a_beginning_that_cometbft_did_not_hear_of_may_be_made_once_more(
    world, make_replica, decide, pay
):
    replica = make_replica()
    for _ in range(2):
        pay()
        world.seal()
        replica.restore(dict(world.state.rows()), world.head)
        replica.close()
        replica = make_replica()
        assert replica.head == world.head
    decide(replica)

    assert [block.header for block in replica.blocks()] == [world.head]


def test_a_ledger_with_blocks_begins_with_no_other_state(world, replica, decide, pay):
    pay()
    decide(replica)
    pay()
    world.seal()
    head = replica.head
    with pytest.raises(InvariantError, match="has blocks"):
        replica.restore(dict(world.state.rows()), world.head)

    assert replica.head == head


def test_rows_that_are_not_those_of_the_header_begin_nothing(world, replica, pay):
    before = dict(world.state.rows())
    pay()
    world.seal()
    other = replace(world.head, chain=bytes(32))
    for rows, header in ((before, world.head), (dict(world.state.rows()), other)):
        with pytest.raises(InvariantError, match="not the state of block 1"):
            replica.restore(rows, header)

    assert replica.head.height == 0


def test_a_state_under_rules_unknown_here_is_begun_with_and_not_gone_on_from(
    world, replica, monkeypatch
):
    monkeypatch.setattr(kernel_module, "KNOWN", frozenset({1, 2}))
    world.vote(Upgrade(2, 2))
    monkeypatch.setattr(kernel_module, "KNOWN", frozenset({1}))
    replica.restore(dict(world.state.rows()), world.head)

    assert "protocol 2" in replica.failure


def test_what_waits_is_kept_when_a_ledger_begins_later(world, make_replica, pay):
    replica = make_replica()
    old = pay("charlie")
    world.pending = []
    replica.submit(old.wire)
    pay()
    world.seal()
    replica.restore(dict(world.state.rows()), world.head)

    assert list(replica.waiting().values()) == [old.wire]
    assert replica.propose(world.now, list(replica.waiting().values())) == [old.wire]


def test_evidence_is_kept_beside_the_block_it_is_of(replica, decide, make_replica, world):
    decide(replica)
    decide(replica)
    assert replica.proven == 0
    block = replica.prove(1, b"evidence")

    assert (block.header, block.evidence) == (world.outcomes[0].header, b"evidence")
    assert replica.proven == 1
    with pytest.raises(UnavailableError, match="block 3 is not here"):
        replica.prove(3, b"evidence")
