"""Nodes that lie about the ledger: nothing of it is accepted, and each is named with evidence."""

from dataclasses import replace

import msgspec
import pytest
from support import liars
from support.liars import (
    GENESIS,
    OTHER,
    PUBLIC,
    Ledger,
    Reply,
    bends,
    framed,
    is_sealed,
    lie_of,
    refused,
    resealed,
    said,
    shows,
)

from tallystick.codec import decode, encode
from tallystick.consensus import awaited, remote
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.wire import (
    HEIGHT_HEADER,
    Acknowledgement,
    SealedHeader,
    Sighting,
    is_acknowledged,
)
from tallystick.consensus.witness import LyingNodeError
from tallystick.crypto import keys
from tallystick.errors import UnavailableError
from tallystick.ledger.block import Block, header_hash
from tallystick.ledger.contracts import members


@pytest.mark.parametrize("root", ["state_root", "receipts_root", "tx_root"])
def test_a_root_that_does_not_follow_is_a_false_state(root, liar, follower):
    node = liar()
    member = follower(node)
    member.engine.follow()
    (honest,) = node.ledger.grow()[-1:]
    wrong = resealed(honest, **{root: b"x" * 32})
    node.bend = shows(wrong)
    lie, evidence = lie_of(member)

    assert (lie.kind, lie.url) == ("false-state", node.url)
    shown = decode(Block, bytes.fromhex(evidence["block"]))
    assert shown == wrong
    assert is_sealed(encode(SealedHeader(shown.header, shown.evidence)).hex()) == wrong.header


def test_what_was_true_before_a_lie_is_kept_and_the_node_is_asked_no_more(liar, follower):
    node = liar()
    first, second, third = node.ledger.blocks()
    node.bend = shows(first, second, resealed(third, state_root=b"x" * 32))
    member = follower(node)
    with pytest.raises(LyingNodeError):
        member.engine.follow()
    asked = len(node.asked)
    with pytest.raises(UnavailableError, match="no node is left"):
        member.engine.follow()

    assert member.engine.head == second.header
    assert member.client.none_left
    assert len(node.asked) == asked


def test_a_block_without_the_sealers_seal_is_refused(liar, follower):
    for evidence in (b"", b"\xff" * 70, "another's"):
        node = liar()
        (first, *_) = node.ledger.blocks()
        given = liars.seal(first.header, OTHER) if evidence == "another's" else evidence
        node.bend = shows(msgspec.structs.replace(first, evidence=given))
        member = follower(node)
        lie, shown = lie_of(member)

        assert (lie.kind, lie.url) == ("unsealed-block", node.url)
        assert decode(Block, bytes.fromhex(shown["block"])).evidence == given
        member.close()


def test_a_block_of_another_ledger_is_named_even_if_the_same_key_seals_it(liar, follower, opened):
    other = Ledger(msgspec.structs.replace(GENESIS, name="other"))
    opened.callback(other.close)
    other.engine.seal(GENESIS.time + 5)
    (foreign,) = other.blocks()
    for followed in (False, True):
        node = liar()
        member = follower(node)
        if followed:
            member.engine.follow()
        node.bend = shows(foreign)
        if followed:  # of a height that it knows
            node.bend = bends("/v1/blocks", lambda _, honest: replace(honest, body=framed(foreign)))
        lie, _ = lie_of(member)

        assert lie.kind == "other-ledger"
        member.close()


def test_a_head_that_falls_is_named(liar, follower):
    node = liar()
    member = follower(node)
    member.engine.follow()
    node.bend = bends(
        "/v1/blocks", lambda _, honest: Reply(headers={**honest.headers, HEIGHT_HEADER: "2"})
    )
    lie, evidence = lie_of(member)

    assert lie.kind == "old-head"
    assert (evidence["said"], evidence["shown"]) == (2, 3)
    assert is_sealed(evidence["seen"]).height == 3


def test_a_head_that_fell_while_the_member_was_away_is_named(liar, follower, tmp_path):
    node = liar()
    store = tmp_path / "ledger.db"
    member = follower(node, store=store)
    member.engine.follow()
    member.close()
    node.bend = bends(
        "/v1/blocks", lambda _, honest: Reply(headers={**honest.headers, HEIGHT_HEADER: "1"})
    )
    again = follower(node, store=store)
    lie, evidence = lie_of(again)

    assert lie.kind == "old-head"
    assert is_sealed(evidence["seen"]).height == 3


def test_an_answer_that_was_overtaken_is_no_old_head(liar, follower):
    node = liar()
    member = follower(node)
    early = member.engine.ask()
    node.ledger.grow(2)
    member.engine.follow()

    assert member.engine.take(early) == 0
    assert member.engine.follow() == 0
    assert member.engine.head.height == 5


def test_a_node_that_is_behind_another_is_not_accused(liar, follower, opened):
    ahead = liar()
    behind = liar(ahead.ledger.fork(1))
    opened.callback(behind.ledger.close)
    member = follower(ahead, behind)
    member.engine.follow()
    member.client.turn(ahead.url)
    for _ in range(4):
        member.engine.follow()
    ahead.ledger.grow()
    while member.engine.head.height < 4:
        member.engine.follow()

    assert behind.count("/v1/blocks")
    assert member.evidence() == []


def fork_at(node, height, beyond):
    """Let a node replace its history above a height with ``beyond`` other blocks."""
    other = node.ledger.fork(height)
    other.grow(beyond, micros=7)
    node.ledger = other


@pytest.mark.parametrize(("kept", "beyond"), [(2, 1), (2, 4), (0, 3), (0, 6), (1, 3)])
def test_history_that_was_replaced_is_named_with_both_seals(kept, beyond, liar, follower, opened):
    node = liar()
    opened.callback(node.ledger.close)
    member = follower(node)
    member.engine.follow()
    fork_at(node, kept, beyond)
    opened.callback(node.ledger.close)
    if node.ledger.engine.head.height <= 3:  # nothing is new: it shows what it has
        node.bend = bends(
            "/v1/blocks", lambda _, honest: replace(honest, body=framed(*node.ledger.blocks()))
        )
    lie, evidence = lie_of(member)
    one, other = is_sealed(evidence["one"]), is_sealed(evidence["other"])

    assert (lie.kind, lie.url) == ("forked-history", node.url)
    assert one != other
    assert one.height == other.height
    assert one.chain == other.chain == member.engine.kernel.chain
    assert member.client.none_left


def test_a_fork_whose_beginning_is_hidden_is_named_by_two_seals_that_do_not_fit(
    liar, follower, opened
):
    node = liar()
    member = follower(node)
    member.engine.follow()
    fork_at(node, 1, 4)
    opened.callback(node.ledger.close)
    node.bend = bends(
        "/v1/blocks",
        lambda asked, honest: refused(404, "gone") if asked.query["from"] == "3" else honest,
    )
    lie, evidence = lie_of(member)
    one, other = is_sealed(evidence["one"]), is_sealed(evidence["other"])

    assert lie.kind == "forked-history"
    assert other.height == one.height + 1
    assert other.parent != header_hash(one)


def test_a_block_left_out_accuses_nobody(liar, follower):
    node = liar()
    member = follower(node)
    third = node.ledger.blocks()[2]
    node.bend = shows(third)
    with pytest.raises(UnavailableError, match="leaves out block 1"):
        member.engine.follow()

    assert member.evidence() == []


def test_a_twin_sealed_by_a_replaced_key_of_that_time_is_still_evidence(liar, follower, opened):
    node = liar()
    member = follower(node)
    member.engine.follow()
    known = node.ledger.blocks()[1]
    state = member.engine.state
    row = state.get(members.MEMBERS, GENESIS.sealer)
    old = msgspec.structs.replace(row.keys[2], active=False)
    new = msgspec.structs.replace(old, public=keys.public_of(OTHER), active=True)
    scratch = state.scratch()
    changed = msgspec.structs.replace(row, keys=(*row.keys[:2], old, new))
    scratch.put(members.MEMBERS, GENESIS.sealer, row=changed)
    state.commit(scratch.changes())
    twin = resealed(known, state_root=b"y" * 32)
    node.bend = bends("/v1/blocks", lambda _, honest: replace(honest, body=framed(twin)))
    lie, evidence = lie_of(member)

    assert lie.kind == "forked-history"
    assert {is_sealed(evidence["one"]), is_sealed(evidence["other"])} == {known.header, twin.header}


def test_two_members_shown_different_histories_each_find_it_out(liar, follower, opened):
    first = liar()
    second = liar(first.ledger.fork(1))
    opened.callback(second.ledger.close)
    second.ledger.grow(2, micros=9)
    first.sightings = second.sightings  # whoever passes them on
    pair = [follower(first, name="south"), follower(second, name="north")]
    for member in pair:
        member.engine.follow()
        member.engine.member = member.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "SIGHTING_SECONDS", 0.0)
        pair[0].engine.follow()
        found = [lie_of(member) for member in pair[::-1]]

    for member, node, (lie, evidence) in zip(pair[::-1], (second, first), found, strict=True):
        assert (lie.kind, lie.url) == ("forked-history", node.url)
        one, other = is_sealed(evidence["one"]), is_sealed(evidence["other"])
        assert one.height == other.height == 3
        assert one != other
        assert member.client.none_left
        assert pair[0].name in lie.args[0] or pair[1].name in lie.args[0]


def test_a_members_false_sighting_accuses_nobody_and_hides_no_true_one(
    liar, follower, opened, monkeypatch
):
    monkeypatch.setattr(remote, "SIGHTING_SECONDS", 0.0)
    node = liar()
    member = follower(node)
    member.engine.follow()
    member.engine.member = "south"
    header = node.ledger.blocks()[1].header
    false = msgspec.structs.replace(header, state_root=b"z" * 32)
    foreign = msgspec.structs.replace(header, chain=b"c" * 32)
    lies = [
        encode(Sighting("north", SealedHeader(false, liars.seal(false, OTHER)))).hex(),
        encode(Sighting("north", SealedHeader(false, b"garbage"))).hex(),
        encode(Sighting("north", SealedHeader(foreign, liars.seal(foreign)))).hex(),
        "zz",
        "00ff",
        17,
        None,
        [["deep"]],
    ]
    for listed in (lies, "text", 3, None, {"a": 1}):
        node.bend = bends("/v1/sightings", lambda *_, listed=listed: said(sightings=listed))
        assert member.engine.follow() == 0
    asked = node.count("/v1/sightings")

    assert asked == 5
    assert member.evidence() == []
    twin = encode(Sighting("east", SealedHeader(false, liars.seal(false)))).hex()
    node.bend = bends("/v1/sightings", lambda *_: said(sightings=[*lies, twin]))
    assert lie_of(member)[0].kind == "forked-history"


def drops(node):
    """Let a node acknowledge every transaction and seal it in no block."""

    def drop(asked, honest):
        node.ledger.engine._drop_all()
        return honest

    node.takes = False
    node.ledger.engine._drop_all = lambda: [
        node.ledger.engine._pool.drop(tx.hash) for tx in node.ledger.engine._pool.waiting()
    ]
    node.bend = bends("/v1/transactions", drop)


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(awaited, "DROPPED_BLOCKS", 4)
    monkeypatch.setattr(awaited, "DROPPED_SECONDS", 0.0)


def test_a_transaction_acknowledged_and_left_out_is_named_with_the_nodes_word(soon, liar, follower):
    node = liar()
    drops(node)
    member = follower(node)
    member.engine.follow()
    tx = node.ledger.pay(5, sender="east")
    member.engine.submit(tx.wire)
    for _ in range(4):
        assert member.engine.outcome(tx.hash) is None
        node.ledger.grow()
        member.engine.follow()
    lie, evidence = lie_of(member, lambda: member.engine.outcome(tx.hash))
    word = decode(Acknowledgement, bytes.fromhex(evidence["acknowledgement"]))
    signature = bytes.fromhex(evidence["signature"])

    assert (lie.kind, lie.url) == ("dropped-submission", node.url)
    assert word.tx == tx.hash
    assert is_acknowledged(word, signature, PUBLIC, member.engine.kernel.chain)
    assert bytes.fromhex(evidence["transaction"]) == tx.wire
    assert is_sealed(evidence["head"]).height == 7
    assert member.client.none_left


def test_slowness_and_what_the_ledger_refuses_accuse_nobody(soon, liar, follower):
    node = liar()
    drops(node)
    member = follower(node)
    member.engine.follow()
    slow = node.ledger.pay(5, sender="east")
    member.engine.submit(slow.wire)
    for _ in range(8):  # no new blocks: it is only slow
        assert member.engine.outcome(slow.hash) is None
        member.engine.follow()
    taken = node.ledger.pay(6, sender="east")  # takes the place of the slow one
    node.ledger.take(taken.wire)
    node.ledger.grow(5)
    member.engine.follow()
    refusal = member.engine.outcome(slow.hash)

    assert refusal is not None
    assert refusal.slug == "bad-nonce"
    assert member.evidence() == []


def test_a_transaction_behind_an_earlier_one_accuses_nobody(soon, liar, follower):
    node = liar()
    drops(node)
    member = follower(node)
    member.engine.follow()
    first, second = (node.ledger.pay(5, sender="east", nonce=nonce) for nonce in (1, 2))
    for tx in (first, second):
        member.engine.submit(tx.wire)
    node.ledger.grow(5)
    member.engine.follow()

    assert member.engine.outcome(second.hash) is None
    assert member.evidence() == []


def test_a_word_signed_by_another_key_holds_nobody(liar, follower, soon):
    node = liar()
    drops(node)
    node.secret = OTHER
    member = follower(node)
    member.engine.follow()
    tx = node.ledger.pay(5, sender="east")
    member.engine.submit(tx.wire)
    node.ledger.grow(5)
    member.engine.follow()
    _, evidence = lie_of(member, lambda: member.engine.outcome(tx.hash))

    assert evidence["acknowledgement"] == evidence["signature"] == ""


def test_a_refusal_of_what_is_in_order_is_tried_again(liar, follower):
    node = liar()
    member = follower(node)
    member.engine.follow()
    node.bend = bends("/v1/transactions", lambda *_: refused(422, "bad-nonce"))
    with pytest.raises(RetryLaterError, match="refuses what is in order"):
        member.engine.submit(node.ledger.pay(5, sender="east").wire)
