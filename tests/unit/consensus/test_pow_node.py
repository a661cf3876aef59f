"""A miner's node: the longest valid branch wins, and what was on another one is not lost."""

import msgspec
import pytest
from support.world import START, World, digest

from tallystick.codec import encode
from tallystick.consensus.pow import BrokenFinalityError, Node, Work, check_work, solve
from tallystick.consensus.pow.puzzle import BadWorkError
from tallystick.errors import DecodeError, RejectedError
from tallystick.ledger import dispatch
from tallystick.ledger.block import Block, header_hash
from tallystick.ledger.contracts import accounts
from tallystick.ledger.messages import RegisterDataset, Transfer

DEEP = 100


@pytest.fixture
def world():
    return World()


@pytest.fixture
def nodes(world):
    return [Node(name, world.genesis, confirmations=DEEP, tries=4) for name in ("alpha", "bravo")]


def mine(node, *others, time=START):
    """Let ``node`` find a block and tell the others."""
    block, _ = node.mine(time)
    for each in (node, *others):
        each.receive(block)
    return block


def pay(world, micros=7, sender="bravo", to="alpha"):
    return world.sign(sender, Transfer(to, micros))


def paid(node, member="alpha"):
    return accounts.balance(node.tip_state, member)


# --- branches


def test_the_longer_branch_wins_and_of_equals_the_first(nodes):
    one, two = nodes
    first, second = mine(one), mine(two, time=START + 1)

    assert not one.receive(second)
    assert not two.receive(first)
    assert (one.tip, two.tip) == (first.header, second.header)
    third = mine(two)
    assert one.receive(third)
    assert one.tip == third.header
    assert one.reorganisations == [1]
    assert one.orphaned == 1


def test_a_reorganisation_rolls_the_state_back_and_counts_a_payment_once(world, nodes):
    one, two = nodes
    tx = pay(world)
    for node in nodes:
        node.hear(tx.wire)
    mine(one)
    founded = two.tip_state.root
    blocks = [mine(two, time=START + 1) for _ in range(2)]
    before = paid(one)
    for block in blocks:
        one.receive(block)

    assert paid(one) == paid(two) == before
    assert one.tip_state.root == two.tip_state.root != founded
    assert dict(one.tip_state.rows()) == dict(two.tip_state.rows())
    assert [tx.wire in block.transactions for block in one.branch] == [True, False]


def test_what_only_the_dead_branch_held_waits_again_and_is_done_once(world, nodes):
    one, two = nodes
    tx = pay(world)
    one.submit(tx.wire)
    start = paid(one)
    mine(one)
    assert paid(one) == start + 7
    for _ in range(2):
        one.receive(mine(two, time=START + 1))

    assert paid(one) == start
    assert one.pool == (tx,)
    mine(one, two)
    assert paid(one) == paid(two) == start + 7
    assert one.pool == two.pool == ()


def test_a_refusal_dies_with_its_branch(world, nodes):
    one, two = nodes
    rich = accounts.balance(one.tip_state, "bravo")
    gift, spent = pay(world, 50, "charlie", "bravo"), pay(world, rich + 50)
    mine(one)
    one.submit(spent.wire)
    mine(one)
    assert one.pool == ()
    assert paid(one) == rich
    two.submit(gift.wire)
    blocks = [mine(two, time=START + 1) for _ in range(3)]
    assert one.receive(blocks[0]) is one.receive(blocks[1]) is False
    one.receive(blocks[2])

    assert one.pool == (spent,)
    mine(one)
    assert paid(one) == 2 * rich + 50


def test_a_deep_branch_is_taken_block_by_block_whatever_order_it_comes_in(nodes):
    one, two = nodes
    for _ in range(3):
        mine(one)
    blocks = [mine(two, time=START + 1) for _ in range(5)]
    changed = [one.receive(block) for block in reversed(blocks)]

    assert changed == [False] * 4 + [True]
    assert one.branch == tuple(blocks)
    assert one.reorganisations == [3]
    assert not one.receive(blocks[0])


# --- lies


def test_a_block_that_claims_what_it_does_not_do_is_never_followed(world, nodes):
    one, two = nodes
    good = mine(one)
    header = two.mine(START + 1)[0].header
    bad = solved(msgspec.structs.replace(header, state_root=bytes(32)), "bravo")
    child = solved(following(bad), "bravo")
    grandchild = solved(following(child), "bravo")

    assert [one.receive(block) for block in (bad, child, grandchild)] == [False] * 3
    assert one.branch == (good,)
    assert one.reorganisations == []
    assert mine(one).header.height == 2


def test_a_bad_branch_that_goes_on_stops_nobody_once_its_fork_is_final(world):
    node = Node("alpha", world.genesis, confirmations=2, tries=4)
    rival = Node("bravo", world.genesis, confirmations=2, tries=4)
    header = rival.mine(START + 1)[0].header
    branch = [solved(msgspec.structs.replace(header, state_root=bytes(32)), "bravo")]
    for _ in range(8):
        branch.append(solved(following(branch[-1]), "bravo"))
    kept = [mine(node)]
    for block in branch[:3]:  # placed, found out to be bad, and forgotten
        node.receive(block)
    kept += [mine(node) for _ in range(4)]  # its fork is final by now

    assert [node.receive(block) for block in branch[3:]] == [False] * 6
    assert node.branch == tuple(kept)
    assert node.reorganisations == []


def test_a_false_height_is_no_length(nodes):
    one, _ = nodes
    first = mine(one)
    lie = solved(msgspec.structs.replace(following(first), height=1000), "bravo")

    assert not one.receive(lie)
    assert one.branch == (first,)


def test_a_branch_that_counts_from_too_low_undoes_nothing_final(world):
    node = Node("alpha", world.genesis, confirmations=0, tries=4)
    blocks = [mine(node) for _ in range(3)]
    lie = solved(msgspec.structs.replace(following(blocks[-1]), height=1), "bravo")
    branch = [lie]
    for _ in range(5):
        branch.append(solved(following(branch[-1]), "bravo"))

    assert [node.receive(block) for block in branch] == [False] * 6
    assert node.branch == tuple(blocks)


def following(block):
    """Return a header that follows ``block`` and claims that nothing has changed."""
    return msgspec.structs.replace(
        block.header, height=block.header.height + 1, parent=header_hash(block.header)
    )


def solved(header, miner):
    return Block(header, (), encode(solve(header, miner, 4)[0]))


def test_work_counts_for_its_miner_and_its_header_only(nodes):
    one, two = nodes
    block, tried = one.mine(START)
    work = check_work(block.header, block.evidence, 4)
    stolen = [Work("bravo", nonce) for nonce in range(64)]
    unsolved = [w for w in stolen if not solves(block.header, w)]

    assert tried == work.nonce + 1
    assert unsolved
    with pytest.raises(BadWorkError):
        two.receive(Block(block.header, (), encode(unsolved[0])))
    with pytest.raises(DecodeError):
        two.receive(Block(block.header, (), b""))
    assert two.tip.height == 0


def solves(header, work):
    try:
        check_work(header, encode(work), 4)
    except BadWorkError:
        return False
    return True


def test_a_puzzle_takes_as_many_tries_as_it_says(world):
    node = Node("alpha", world.genesis, confirmations=0, tries=64)
    tried = [node.mine(START + at)[1] for at in range(400)]

    assert 48 < sum(tried) / len(tried) < 80
    assert solve(node.tip, "alpha", 1) == (Work("alpha", 0), 1)


# --- what is final


def test_members_see_only_what_is_deep_enough(world):
    node = Node("alpha", world.genesis, confirmations=2)
    tx = pay(world)
    start = paid(node)
    sent = node.submit(tx.wire)
    seen = []
    for _ in range(3):
        mine(node)
        receipt = node.outcome(sent)
        balance = accounts.balance(node.state, "alpha")
        seen.append((node.head.height, receipt and receipt.code, balance - start))

    assert seen == [(0, None, 0), (0, None, 0), (1, 0, 7)]
    assert paid(node) == start + 7
    assert [block.header.height for block in node.blocks(1)] == [1]
    assert node.state.root == node.head.state_root


def test_a_refusal_is_told_once_it_is_final(world):
    node = Node("alpha", world.genesis, confirmations=1)
    mine(node)
    sent = node.submit(pay(world, 2**60).wire)
    mine(node)

    assert node.outcome(sent).code == 411
    assert node.outcome(digest("nothing")) is None


def test_a_branch_that_would_undo_what_is_final_stops_the_node(world):
    one, two = (Node(name, world.genesis, confirmations=1) for name in ("alpha", "bravo"))
    for _ in range(2):
        mine(one)
    blocks = [mine(two, time=START + 1) for _ in range(3)]
    for block in blocks[:2]:
        one.receive(block)

    with pytest.raises(BrokenFinalityError):
        one.receive(blocks[2])


# --- the pool


def test_what_cannot_follow_the_tip_is_refused_at_the_door(world, nodes):
    one, _ = nodes
    with pytest.raises(RejectedError) as refused:
        one.submit(world.sign("bravo", Transfer("alpha", 1), chain=bytes(32)).wire)

    assert refused.value.code == 103
    assert one.pool == ()


def test_the_same_transaction_waits_once_and_junk_does_not(world, nodes):
    one, _ = nodes
    tx = pay(world)
    assert one.submit(tx.wire) == one.submit(tx.wire)
    one.hear(tx.wire)
    one.hear(b"junk")

    assert one.pool == (tx,)
    assert one.outbox == [tx.wire]
    mine(one)
    one.hear(tx.wire)
    assert one.pool == ()


def test_a_transaction_beyond_its_senders_share_waits_for_the_next_block(world):
    small = World(limits=type(world.genesis.limits)(block_bytes=1024, transaction_bytes=1024))
    node = Node("alpha", small.genesis, confirmations=0)
    for at in range(12):
        node.submit(small.sign("bravo", RegisterDataset(digest(at), at)).wire)
    sizes = []
    while node.pool:
        sizes.append(len(mine(node).transactions))

    assert sum(sizes) == 12
    assert len(sizes) > 1


def test_a_faulty_transaction_gets_a_code(world, nodes, monkeypatch):
    def crash(state, context, message):
        raise ValueError

    monkeypatch.setitem(dispatch.HANDLERS, Transfer, crash)
    node = Node("alpha", world.genesis, confirmations=0)
    sent = node.submit(pay(world).wire)
    mine(node)

    assert node.outcome(sent).code == 111
    assert node.pool == ()
