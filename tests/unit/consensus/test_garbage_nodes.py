"""Nodes that are dead, or answer with garbage: only our errors come out, and the next is asked."""

import gzip
import logging
import time
from dataclasses import replace

import msgspec
import pytest
from support.liars import (
    GENESIS,
    OTHER,
    SECRET,
    Ledger,
    Reply,
    bends,
    lie_of,
    refused,
    resealed,
    row_of,
    shows,
)

from tallystick.consensus import client
from tallystick.consensus.client import RefusedError
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.meeting import fetch_genesis
from tallystick.consensus.wire import (
    HEIGHT_HEADER,
    read_headers,
)
from tallystick.consensus.witness import MOST_TOLD, LyingNodeError, Witness
from tallystick.errors import TallyError, UnavailableError, VerificationError
from tallystick.ledger.genesis import genesis_hash
from tallystick.storage.sqlite import LedgerStore


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


def drip(out):
    for _ in range(150):
        out.write(b"x")
        out.flush()
        time.sleep(0.02)


@pytest.mark.parametrize("begins", ["with a head", "in its head", "never"])
def test_an_answer_that_drips_is_given_up_for_another_node(begins, liar, follower, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(client, "HEAD_SECONDS", 0.3)
    raw = {"with a head": head(**{HEIGHT_HEADER: "9"}), "in its head": b"HTTP/1.1 200 OK\r\nx: "}
    honest = liar()
    dripping = liar(honest.ledger)
    dripping.bend = lambda *_: Reply(raw=raw.get(begins, b""), then=drip)
    alone = follower(dripping, name="north")
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        alone.engine.follow()

    assert time.monotonic() - began < 2
    assert follower(dripping, honest).engine.follow() == 3


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


def test_what_a_node_says_is_one_line_of_the_log(liar, follower):
    node = liar()
    said_so = refused(422, "no\nfake", message="no\r\n\x1b[2J" + "x" * 9000)
    node.bend = bends("/v1/transactions", lambda *_: said_so)
    member = follower(node)
    member.engine.follow()
    with pytest.raises(RetryLaterError) as caught:
        member.engine.submit(node.ledger.pay(5, sender="east").wire)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
