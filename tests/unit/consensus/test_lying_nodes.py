"""Nodes that lie about the ledger: nothing of it is accepted, and each is named with evidence."""

import gzip
import logging
import time
from dataclasses import replace

import msgspec
import pytest
from support import liars
from support.liars import (
    GENESIS,
    PUBLIC,
    SECRET,
    Ledger,
    Reply,
    framed,
    is_sealed,
    refused,
    resealed,
    said,
)

from tallystick.codec import decode, encode
from tallystick.consensus import client, remote
from tallystick.consensus.client import RefusedError
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.proofs import read_row
from tallystick.consensus.remote import fetch_genesis
from tallystick.consensus.wire import (
    HEIGHT_HEADER,
    Acknowledgement,
    SealedHeader,
    Sighting,
    is_acknowledged,
    read_headers,
)
from tallystick.consensus.witness import MOST_TOLD, LyingNodeError, Witness
from tallystick.crypto import keys
from tallystick.errors import TallyError, UnavailableError, VerificationError
from tallystick.ledger.block import Block, header_hash
from tallystick.ledger.contracts import accounts, members
from tallystick.ledger.genesis import genesis_hash
from tallystick.storage.sqlite import LedgerStore

OTHER = keys.secret_from_seed(b"nobody")


def bends(path, change):
    """Return how a node bends its answers to one path."""
    return lambda asked, honest: change(asked, honest) if path in asked.path else honest


def shows(*blocks):
    """Return how a node answers with these blocks whatever it is asked."""
    height = str(max(block.header.height for block in blocks))
    return bends(
        "/v1/blocks",
        lambda _, honest: replace(
            honest, body=framed(*blocks), headers={**honest.headers, HEIGHT_HEADER: height}
        ),
    )


def lie_of(member, act=None):
    """Return the one lie a member names, having accepted nothing."""
    before = member.standing()
    with pytest.raises(LyingNodeError) as caught:
        (act or member.engine.follow)()

    assert member.standing() == before
    assert caught.value.evidence.exists()
    (evidence,) = [
        each
        for each in member.evidence()
        if (each["lie"], each["node"]) == (caught.value.kind, caught.value.url)
    ]
    return caught.value, evidence


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
    assert member.client.is_alone
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
    assert member.client.is_alone


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
        assert member.client.is_alone
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
        node.ledger.engine._drop(tx) for tx in tuple(node.ledger.engine._pending.values())
    ]
    node.bend = bends("/v1/transactions", drop)


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(remote, "DROPPED_BLOCKS", 4)
    monkeypatch.setattr(remote, "DROPPED_SECONDS", 0.0)


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
    assert member.client.is_alone


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


# --- Rows with proofs --------------------------------------------------------------------------


def row_of(member, name="south", publics=(PUBLIC,)):
    return read_row(
        member.client, GENESIS, publics, accounts.BALANCES, name, witness=member.witness
    )


def test_a_proven_row_is_read_and_so_is_its_absence(liar, follower):
    node = liar()
    member = follower(node)
    row, header = row_of(member)

    assert row == node.ledger.engine.state.get(accounts.BALANCES, "south")
    assert header == node.ledger.engine.head
    assert row_of(member, "nobody") == (None, header)
    assert member.evidence() == []


def answer(**changes):
    """Return how a node changes fields of a row's answer."""

    def change(_, honest):
        document = msgspec.json.decode(honest.body)
        for name, value in changes.items():
            document[name] = value(document[name]) if callable(value) else value
        return replace(honest, body=msgspec.json.encode(document))

    return bends("/v1/state/", change)


def flipped(text):
    data = bytearray.fromhex(text)
    data[-1] ^= 1
    return data.hex()


WRONG_ROWS = {
    "another row": {"row": encode(10**9).hex()},
    "no row": {"row": None},
    "a damaged row": {"row": flipped},
    "a damaged proof": {"proof": flipped},
    "no proof": {"proof": ""},
    "a damaged header": {"header": flipped},
    "a damaged seal": {"evidence": flipped},
    "no seal": {"evidence": ""},
    "a number": {"row": 5},
    "a list": {"header": ["00"]},
}


@pytest.mark.parametrize("changes", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_row_that_is_not_shown_is_a_false_proof(changes, liar, follower):
    node = liar()
    node.bend = answer(**changes)
    member = follower(node)
    lie, evidence = lie_of(member, lambda: row_of(member))

    assert (lie.kind, lie.url) == ("false-proof", node.url)
    assert evidence["key"] == accounts.BALANCES.key("south").hex()
    assert {"row", "proof", "header", "evidence"} <= evidence.keys()


def test_a_row_hidden_behind_a_proof_of_another_keys_absence_is_a_false_proof(liar, follower):
    node = liar()
    absent = node.honest(
        liars.Asked("GET", f"/v1/state/{accounts.BALANCES.key('nobody').hex()}", {}, {}, b"")
    )
    node.bend = bends("/v1/state/", lambda *_: absent)
    member = follower(node)

    assert lie_of(member, lambda: row_of(member))[0].kind == "false-proof"


def test_a_row_sealed_by_a_stranger_or_of_another_ledger_is_a_false_proof(liar, follower, opened):
    stranger = keys.public_of(OTHER)
    node = liar()
    member = follower(node)
    assert lie_of(member, lambda: row_of(member, publics=(stranger,)))[0].kind == "false-proof"
    other = Ledger(msgspec.structs.replace(GENESIS, name="other"))
    opened.callback(other.close)
    other.engine.seal(GENESIS.time + 5)
    foreign = liar(other)
    second = follower(foreign, name="north")
    lie, _ = lie_of(second, lambda: row_of(second))

    assert lie.kind == "false-proof"
    assert "another ledger" in str(lie)


# --- Several nodes, and garbage ----------------------------------------------------------------


def test_after_a_dead_node_the_next_is_asked(liar, follower):
    dead = liar()
    dead.close()
    alive = liar()
    member = follower(dead, alive)

    assert member.engine.follow() == 3
    assert member.client.url == alive.url


def test_after_a_lying_node_work_goes_on_and_the_lie_is_logged_once(liar, follower, caplog):
    honest = liar()
    lying = liar(honest.ledger)
    lying.bend = shows(resealed(honest.ledger.blocks()[0], state_root=b"x" * 32))
    member = follower(lying, honest)
    with caplog.at_level(logging.ERROR):
        with pytest.raises(LyingNodeError):
            member.engine.follow()
        assert member.engine.follow() == 3
        for _ in range(3):
            member.engine.follow()
        tx = honest.ledger.pay(5, sender="east")
        member.engine.submit(tx.wire)
        member.engine.follow()

    assert member.engine.outcome(tx.hash) is not None
    assert lying.count("/v1/blocks") == 1
    assert sum(lying.url in line for line in caplog.messages) == 1


def test_the_genesis_that_was_asked_for_is_taken_from_whoever_serves_it(liar, follower, opened):
    other = Ledger(msgspec.structs.replace(GENESIS, name="other"))
    opened.callback(other.close)
    false, garbage, honest = liar(other), liar(), liar()
    garbage.bend = lambda *_: Reply(body=b"\x00" * 100)
    member = follower(garbage, false, honest)
    wanted = genesis_hash(GENESIS)

    assert fetch_genesis(member.client, wanted) == GENESIS
    with pytest.raises(VerificationError, match="serves the ledger other"):
        fetch_genesis(follower(false, name="north").client, wanted)


def head(status="200 OK", **headers):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def bomb():
    packed = gzip.compress(bytes(1 << 26), 9)
    for _ in range(2):
        packed = gzip.compress(packed, 9)
    return Reply(
        body=packed,
        headers={"content-encoding": "gzip, gzip, gzip", HEIGHT_HEADER: "9"},
    )


GARBAGE = {
    "random bytes": Reply(body=bytes(range(256)) * 9, headers={HEIGHT_HEADER: "9"}),
    "random bytes for a head": Reply(raw=bytes(range(256)) * 9),
    "nothing": Reply(raw=b""),
    "no content": Reply(status=204),
    "html": Reply(body=b"<html><body>Welcome</body></html>"),
    "html not found": Reply(404, b"<html>not here</html>"),
    "html forbidden": Reply(403, b"<html>log in</html>"),
    "json of another kind": Reply(400, b'{"error": "no"}'),
    "json without sense": Reply(400, b'{"error": {"code": [1], "message": {}}}'),
    "a list": Reply(body=b"[" + b"1," * 100_000 + b"1]"),
    "deep json": Reply(body=b'{"a":' * 50_000),
    "deep json as a refusal": Reply(400, b'{"a":' * 50_000),
    "json that is no text": Reply(body=b'{"a": "\xff\xfe"}'),
    "large json": Reply(body=b'{"a": [' + b"{}," * 1_500_000 + b"{}]}"),
    "numbers out of range": Reply(body=b'{"offset": 1e999, "sightings": ' + b"9" * 5000 + b"}"),
    "a server error": Reply(500, b"Traceback"),
    "a bad gateway": Reply(502, b"<html>nginx</html>"),
    "busy": refused(503, "retry-later"),
    "too often": refused(429, "retry-later"),
    "a redirect": Reply(302, headers={"location": "http://127.0.0.1:1/"}),
    "a redirect to nowhere": Reply(302, headers={"location": "http://[::1"}),
    "a body cut off": Reply(body=b"abc", headers={"content-length": "1000"}),
    "a length that is none": Reply(raw=head(content_length="many") + b"abc"),
    "two lengths": Reply(raw=head(content_length="3, 4") + b"abcd"),
    "chunks that are none": Reply(raw=head(transfer_encoding="chunked") + b"zz\r\nabc"),
    "another encoding": Reply(raw=head(transfer_encoding="brainwave") + b"abc"),
    "a long head": Reply(raw=head(**{f"x{number}": "y" * 900 for number in range(500)})),
    "a height in other digits": Reply(headers={HEIGHT_HEADER: "\xb2"}),
    "a negative height": Reply(headers={HEIGHT_HEADER: "-1"}),
    "a height beyond all": Reply(headers={HEIGHT_HEADER: "9" * 400}),
    "a time in other digits": Reply(
        401, refused(401, "stale-request").body, {"Tally-Time": "\xb2"}
    ),
    "always stale": refused(401, "stale-request"),
    "compressed": bomb(),
}


def attempts(member, wire):
    """Return what a member may ask of a node, by name."""
    return {
        "blocks": member.engine.follow,
        "transactions": lambda: member.engine.submit(wire),
        "state": lambda: row_of(member),
        "genesis": lambda: fetch_genesis(member.client),
    }


@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_by_name_and_the_next_node_is_asked(reply, liar, follower):
    honest = liar()
    garbage = liar(honest.ledger)
    garbage.bend = lambda *_: reply
    alone = follower(garbage)
    alone.engine.member = "south"
    tx = honest.ledger.pay(5, sender="east")
    for act in attempts(alone, tx.wire).values():
        with pytest.raises(TallyError) as caught:
            act()

        assert not isinstance(caught.value, RefusedError)
    member = follower(garbage, honest, name="north")
    while member.engine.head.height < 3:
        try:
            member.engine.follow()
        except TallyError as error:
            assert isinstance(error, UnavailableError)  # noqa: PT017 - a lie is no garbage

    assert alone.engine.head.height == 0
    assert alone.engine.follow != member.engine.follow
    for lie in (*alone.evidence(), *member.evidence()):
        assert lie["lie"] == "false-proof"  # an answer to a question for a proof, and none


def test_an_endless_answer_ends(liar, follower, monkeypatch):
    def flood(out):
        for _ in range(64):
            out.write(bytes(1 << 20))

    node = liar()
    member = follower(node)
    node.bend = bends("/v1/genesis", lambda *_: Reply(raw=head(), then=flood))
    with pytest.raises(UnavailableError, match="does not end"):
        fetch_genesis_quietly(member)


def fetch_genesis_quietly(member):
    try:
        fetch_genesis(member.client)
    except UnavailableError as error:
        raise UnavailableError(error.hint) from error


def test_an_answer_that_drips_is_given_up(liar, follower, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)

    def drip(out):
        for _ in range(100):
            out.write(b"x")
            out.flush()
            time.sleep(0.02)

    node = liar()
    node.bend = bends("/v1/blocks", lambda *_: Reply(raw=head(**{HEIGHT_HEADER: "9"}), then=drip))
    member = follower(node)
    with pytest.raises(UnavailableError, match="does not end"):
        member.engine.follow()


def test_cookies_are_not_kept(liar, follower):
    node = liar()
    node.bend = lambda _, honest: replace(
        honest, headers={**honest.headers, "set-cookie": "a=b; Path=/"}
    )
    member = follower(node)
    member.engine.follow()
    member.engine.follow()

    assert all("cookie" not in asked.headers for asked in node.asked)


def test_a_member_whose_clock_is_wrong_uses_the_nodes(liar, follower):
    node = liar()
    stale = refused(401, "stale-request")

    def judge(asked, honest):
        request, _, _ = read_headers(
            asked.headers["tally-request"], asked.headers["tally-signature"]
        )
        late = replace(stale, headers={"Tally-Time": "5000000"})
        return honest if abs(request.time - 5_000_000) < 60_000 else late

    node.takes = False
    node.bend = bends("/v1/transactions", judge)
    member = follower(node)
    member.engine.follow()
    member.engine.submit(node.ledger.pay(5, sender="east").wire)

    assert node.count("/v1/transactions") == 2


def test_a_liar_fills_no_disk_and_a_full_disk_hides_no_lie(tmp_path):
    witness = Witness(tmp_path / "evidence")
    for number in range(3 * MOST_TOLD):
        error = witness.name("http://a", "wrong-blob", f"lie {number}", data=b"x")
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    homeless = Witness(nowhere / "evidence").name("http://a", "wrong-blob", "lie")

    assert len(list((tmp_path / "evidence").iterdir())) == MOST_TOLD
    assert error.evidence.exists()
    assert homeless.evidence is None
    assert homeless.kind == "wrong-blob"


def test_the_store_is_as_it_was_after_every_lie(liar, follower, tmp_path):
    node = liar()
    store = tmp_path / "ledger.db"
    member = follower(node, store=store)
    member.engine.follow()
    (honest,) = node.ledger.grow()[-1:]
    node.bend = shows(resealed(honest, state_root=b"x" * 32))
    lie_of(member)
    member.close()
    again = follower(node, store=store)
    node.bend = lambda _, honest: honest

    assert again.engine.follow() == 1
    assert again.engine.head == honest.header
    assert LedgerStore(store).head() == honest.header
    assert SECRET != OTHER
