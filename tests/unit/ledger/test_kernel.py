"""The transition function: blocks that follow, equal shares, faults of ours kept out."""

from collections import Counter

import msgspec
import pytest
from support.play import Play
from support.terms import WINDOW, simple
from support.world import START, World, digest, make_genesis

from tallystick.codec import encode
from tallystick.crypto.merkle_list import list_root
from tallystick.crypto.merkle_map import verify_absent, verify_member
from tallystick.ledger import dispatch
from tallystick.ledger.block import Block, header_hash, transactions_root
from tallystick.ledger.contracts import accounts
from tallystick.ledger.genesis import Limits
from tallystick.ledger.kernel import (
    MOST_FAILED,
    InvalidBlockError,
    Kernel,
    ShareExceededError,
    UnsupportedProtocolError,
)
from tallystick.ledger.messages import ProposeTask, RegisterDataset, Transfer
from tallystick.ledger.receipt import Receipt
from tallystick.ledger.transaction import last_nonce

PAY = Transfer("bravo", 5)


@pytest.fixture
def world():
    return World()


def test_the_first_header_holds_the_founding_state(world):
    header = world.head

    assert (header.height, header.time, header.parent) == (0, START, bytes(32))
    assert header.chain == world.kernel.chain
    assert header.state_root == world.state.root
    assert header.tx_root == list_root([])


def test_a_header_commits_to_everything_the_block_did(world):
    parent = world.head
    outcome = world.accept("alpha", PAY)
    header = outcome.header

    assert header.height == 1
    assert header.time == START + 1000
    assert header.parent == header_hash(parent)
    assert header.tx_root == transactions_root([tx.wire for tx in outcome.transactions])
    assert header.receipts_root == list_root([encode(receipt) for receipt in outcome.receipts])
    assert header.state_root == world.state.root


def test_an_empty_block_without_due_work_changes_no_root(world):
    before = world.head
    after = world.seal().header

    assert (after.state_root, after.tx_root) == (before.state_root, before.tx_root)
    assert world.outcomes[-1].changes == {}


def test_block_time_never_falls(world):
    world.seal(dt=-500_000)

    assert world.head.time == START


def wrong_blocks(block):
    header = block.header
    late = {"time": header.time - 1_000_000}
    for field, value in (
        ("height", header.height + 1),
        ("chain", bytes(32)),
        ("parent", bytes(32)),
        ("tx_root", bytes(32)),
        ("receipts_root", bytes(32)),
        ("state_root", bytes(32)),
    ):
        yield (
            f"another {field}",
            Block(msgspec.structs.replace(header, **{field: value}), block.transactions),
        )
    yield (
        "older than its parent",
        Block(msgspec.structs.replace(header, **late), block.transactions),
    )
    yield "a transaction left out", Block(header, block.transactions[:-1])
    yield "a transaction twice", Block(header, (*block.transactions, block.transactions[-1]))
    yield "another order", Block(header, block.transactions[::-1])
    yield "bytes that are no transaction", Block(header, (b"junk",))


def proposal(world):
    txs = [world.sign("alpha", PAY, nonce=1), world.sign("charlie", PAY, nonce=1)]
    return world.kernel.propose(world.state, world.head, world.now + 1000, txs).block


@pytest.mark.parametrize("why", [why for why, _ in wrong_blocks(proposal(World()))])
def test_a_block_that_claims_what_did_not_happen_is_refused(world, why):
    world.accept("delta", PAY)
    block = dict(wrong_blocks(proposal(world)))[why]
    before = list(world.state.rows())

    with pytest.raises(InvalidBlockError) as refused:
        world.kernel.apply(world.state, world.head, block)
    assert refused.value.code == 200
    assert list(world.state.rows()) == before


def test_applying_the_same_block_twice_gives_the_same_outcome(world):
    block = proposal(world)
    first = world.kernel.apply(world.state, world.head, block)
    second = world.kernel.apply(world.state, world.head, block)

    assert first.header == second.header
    assert first.changes == second.changes


def test_evidence_is_no_part_of_what_is_executed(world):
    block = proposal(world)
    signed = Block(block.header, block.transactions, b"evidence")

    assert world.kernel.apply(world.state, world.head, signed).header == block.header


def test_proposals_are_ordered_by_member_key_and_nonce(world):
    txs = [world.send(name, PAY) for name in ("delta", "alpha", "charlie", "alpha")]
    outcome = world.seal()

    assert outcome.transactions == (txs[1], txs[3], txs[2], txs[0])


def test_a_block_in_another_order_is_refused_though_its_roots_are_right(world):
    first, second = world.sign("alpha", PAY), world.sign("charlie", PAY)
    poor = world.sign("delta", Transfer("bravo", 2**60))  # refused, so its nonce stays unspent
    world.forced(first, second, poor)

    for order in ((second, first), (poor, poor)):
        with pytest.raises(InvalidBlockError, match="canonical order"):
            world.forced(*order)


def test_a_row_is_proven_present_and_another_absent(world):
    world.accept("alpha", PAY)
    root = world.head.state_root
    key, value, proof = world.state.prove(accounts.BALANCES, "bravo")
    missing, nothing, absence = world.state.prove(accounts.BALANCES, "zulu")

    assert value == encode(10_000_005)
    assert nothing is None
    verify_member(root, key, value, proof)
    verify_absent(root, missing, absence)


# --- shares ---------------------------------------------------------------------------------------

SMALL = Limits(block_bytes=4000, transaction_bytes=1000)


def datasets(world, member, count, start=0):
    return [
        world.send(member, RegisterDataset(digest(member, at), at))
        for at in range(start, start + count)
    ]


def test_a_member_fills_its_share_of_a_block_and_no_more():
    world = World(limits=SMALL)
    mine, other = datasets(world, "alpha", 20), datasets(world, "bravo", 2)
    outcome = world.seal()
    taken = [tx for tx in outcome.transactions if tx.body.sender == "alpha"]
    size = len(mine[0].wire)

    assert taken == mine[: 1000 // size]
    assert set(other) <= set(outcome.transactions)
    assert {error.code for _, error in outcome.refused} == {110}


def test_what_exceeds_a_share_goes_into_the_next_blocks_in_order():
    world = World(limits=SMALL)
    datasets(world, "alpha", 8)
    world.send("alpha", ProposeTask(simple()))
    last = datasets(world, "alpha", 1, start=50)[0]
    for _ in range(8):
        outcome = world.seal()
        assert {error.slug for _, error in outcome.refused} <= {"share-exceeded"}
        world.pending = [tx for tx, _ in outcome.refused]

    assert world.pending == []
    assert last_nonce(world.state, "alpha", 0) == last.body.nonce


def test_a_small_transaction_does_not_overtake_a_large_one_that_waits():
    world = World(limits=SMALL)
    first = [world.send("alpha", ProposeTask(simple(name=name))) for name in ("one", "two")]
    small = world.send("alpha", PAY)
    outcome = world.seal()
    assert len(first[0].wire) + len(small.wire) < 1000 < 2 * len(first[0].wire)
    assert outcome.transactions == (first[0],)
    world.pending = [tx for tx, _ in outcome.refused]
    world.seal()

    assert world.outcomes[-1].transactions == (first[1], small)


def test_no_block_is_larger_than_the_limit_and_none_starves():
    names = tuple(f"m{at:02}" for at in range(12))
    world = World(names, limits=SMALL)
    waiting = {name: datasets(world, name, 6) for name in names}
    for _ in range(30):
        outcome = world.seal()
        assert sum(len(tx.wire) for tx in outcome.transactions) <= 4000
        world.pending = [tx for tx, _ in outcome.refused]

    assert world.pending == []
    assert all(last_nonce(world.state, name, 0) == 6 for name in waiting)


def test_members_beyond_what_a_block_holds_take_turns():
    names = tuple(f"m{at:02}" for at in range(40))
    world = World(names, limits=SMALL, audited=False)
    served = set()
    for at in range(40):
        for name in names:
            if not any(tx.body.sender == name for tx in world.pending):
                datasets(world, name, 1, start=at)
        outcome = world.seal()
        served |= {tx.body.sender for tx in outcome.transactions}
        world.pending = [tx for tx, _ in outcome.refused]

    assert served == set(names)


def test_a_block_beyond_the_limit_is_not_accepted():
    generous, strict = World(genesis=make_genesis()), World(genesis=make_genesis())
    datasets(generous, "alpha", 20)
    block = generous.seal().block
    strict.kernel.limits = SMALL

    with pytest.raises(InvalidBlockError):
        strict.kernel.apply(strict.state, strict.head, block)


# --- our own bugs ---------------------------------------------------------------------------------


@pytest.fixture
def planted(monkeypatch):
    def crash(state, context, message):
        state.put(accounts.BALANCES, context.sender, row=0)
        return {}["planted"]

    monkeypatch.setitem(dispatch.HANDLERS, RegisterDataset, crash)


def test_a_handler_that_raises_keeps_its_transaction_out_of_proposals(planted):
    world = World(tolerant=True)
    before = world.state.root
    bad = datasets(world, "alpha", 1)[0]
    outcome = world.seal()

    assert [faulty.transaction for faulty in outcome.faulty] == [bad]
    assert outcome.transactions == ()
    assert world.state.root == before


def test_the_chain_goes_on_beside_a_faulty_transaction(planted):
    world = World(tolerant=True)
    datasets(world, "alpha", 1)
    good = world.send("bravo", Transfer("alpha", 1))
    outcome = world.seal()
    world.accept("alpha", PAY)

    assert outcome.transactions == (good,)
    assert accounts.balance(world.state, "alpha") == 10_000_000 + 1 - 5


def test_no_block_with_a_faulty_transaction_is_accepted(monkeypatch):
    world = World()
    datasets(world, "alpha", 1)
    txs = list(world.pending)
    block = world.kernel.propose(world.state, world.head, world.now + 1, txs).block

    def crash(state, context, message):
        raise RuntimeError

    monkeypatch.setitem(dispatch.HANDLERS, RegisterDataset, crash)
    with pytest.raises(InvalidBlockError, match="faults: RuntimeError"):
        world.kernel.apply(world.state, world.head, block)


def test_a_row_without_canonical_form_is_a_fault_of_its_transaction(monkeypatch):
    world = World(tolerant=True)

    def overflow(state, context, message):
        state.put(accounts.BALANCES, context.sender, row=2**64)
        return ()

    monkeypatch.setitem(dispatch.HANDLERS, RegisterDataset, overflow)
    datasets(world, "alpha", 1)
    outcome = world.seal()

    assert len(outcome.faulty) == 1
    assert outcome.changes == {}


def test_a_row_outside_its_tables_range_is_a_fault_of_its_transaction(monkeypatch):
    world = World(tolerant=True)

    def negative(state, context, message):
        state.put(accounts.BALANCES, context.sender, row=-1)
        return ()

    monkeypatch.setitem(dispatch.HANDLERS, RegisterDataset, negative)
    datasets(world, "alpha", 1)
    outcome = world.seal()

    assert len(outcome.faulty) == 1
    assert outcome.changes == {}


def test_another_protocol_version_stops_the_node_and_says_so():
    kernel = Kernel(make_genesis(protocol=2))
    state, head = kernel.found()

    with pytest.raises(UnsupportedProtocolError, match="protocol 2"):
        kernel.propose(state, head, head.time, [])


def test_receipts_hash_codes_and_events_only():
    assert encode(Receipt(411)) == encode((411, ()))


def test_scratch_state_of_a_proposal_does_not_leak(world):
    play = Play(world, simple())
    before = (world.state.root, list(world.state.rows()))
    for dt in (1000, WINDOW):
        world.kernel.propose(world.state, world.head, world.now + dt, [world.sign("alpha", PAY)])

    assert (world.state.root, list(world.state.rows())) == before
    assert play.where == (0, 0, "approve", "seal")


def test_work_for_nothing_has_a_bound_for_each_sender_and_the_rest_waits():
    world = World(audited=False)
    poor = [world.sign("bravo", Transfer("alpha", 2**60)) for _ in range(MOST_FAILED + 5)]
    good = world.sign("charlie", Transfer("alpha", 1))
    outcome = world.kernel.propose(world.state, world.head, world.now, [*poor, good])
    codes = Counter(error.code for _, error in outcome.refused)

    assert outcome.transactions == (good,)
    assert codes == {411: MOST_FAILED, ShareExceededError.code: 5}
    assert [tx.hash for tx, _ in outcome.refused] == [tx.hash for tx in poor]
