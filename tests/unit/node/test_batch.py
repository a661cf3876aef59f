"""Several transactions in one request: an answer for each, in its place."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
from support.nodes import until

from tallystick.codec import decode
from tallystick.consensus.wire import (
    MOST_TOGETHER,
    MOST_TOGETHER_BYTES,
    Acknowledgement,
    frame,
    frames_in,
    is_acknowledged,
)
from tallystick.errors import DecodeError
from tallystick.node import batch, gate
from tallystick.node.gate import Limits

BATCH = "/v1/transactions/batch"


def send(node, wires, **signing):
    return node.ask("POST", BATCH, b"".join(map(frame, wires)), **signing)


def test_each_is_taken_and_acknowledged_as_if_it_came_alone(node):
    sent = [node.tx("north", nonce=nonce) for nonce in range(1, 6)]
    said = send(node, [tx.wire for tx in sent], who="north")
    until(lambda: all(node.clerk.outcome(tx.hash) is not None for tx in sent), 5)

    assert said.status == 200
    assert [each["hash"] for each in said.document["answers"]] == [tx.hash.hex() for tx in sent]
    for tx, each in zip(sent, said.document["answers"], strict=True):
        word = decode(Acknowledgement, bytes.fromhex(each["acknowledgement"]))
        signature = bytes.fromhex(each["signature"])
        public = node.clerk.engine.kernel.genesis.founders
        keys = [key.public for founder in public for key in founder.keys]
        assert word.tx == tx.hash
        assert any(is_acknowledged(word, signature, key, node.service.chain) for key in keys)


def test_what_is_wrong_with_one_is_said_of_that_one_alone(node):
    first, last = node.tx("north", nonce=1), node.tx("north", nonce=2)
    said = send(node, [first.wire, b"junk", last.wire], who="north").document["answers"]

    assert "acknowledgement" in said[0]
    assert said[1]["error"]["code"] == "malformed-transaction"
    assert "acknowledgement" in said[2]


def test_what_a_block_has_is_said_to_be_included(node):
    tx = node.tx("north", nonce=1)
    send(node, [tx.wire])
    until(lambda: node.clerk.outcome(tx.hash) is not None, 5)

    assert send(node, [tx.wire]).document["answers"] == [{"hash": tx.hash.hex(), "included": True}]


def test_what_finds_no_room_may_be_sent_again(make_node):
    node = make_node(pending=8, batch_milliseconds=60_000)
    wires = [node.tx("north", nonce=nonce).wire for nonce in range(1, 5)]
    said = send(node, wires).document["answers"]

    assert [each.get("error", {}).get("code") for each in said] == [
        None,
        None,
        "retry-later",
        "retry-later",
    ]


def test_a_batch_of_another_form_is_refused_whole(node):
    wire = node.tx("north", nonce=1).wire
    none, cut = node.ask("POST", BATCH), node.ask("POST", BATCH, frame(wire)[:-1])
    many = send(node, [b""] * (MOST_TOGETHER + 1))
    large = send(node, [b"x" * MOST_TOGETHER_BYTES])
    unsigned = send(node, [wire], signed=False)

    assert [each.status for each in (none, cut, many, large, unsigned)] == [400, 400, 400, 413, 401]
    assert node.clerk.engine.pending == 0


@pytest.fixture
def stopped(monkeypatch):
    """Return a clock that goes on only when a test lets it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(gate, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_each_transaction_counts_as_a_request(node, stopped):
    node.service.gate._rate = Limits(requests_per_second=5).requests_per_second
    wires = [node.tx("north", nonce=nonce).wire for nonce in range(1, 12)]

    assert send(node, wires).status == 200
    assert send(node, wires).code == "retry-later"
    assert send(node, wires[:4], who="east").status == 200
    stopped.now += 0.5  # 11 of 10 are used up, and 2.5 were given
    assert send(node, wires[:1]).status == 200
    assert send(node, wires[:1]).code == "retry-later"


def test_a_full_batch_is_taken_however_few_requests_a_member_may_make(node, stopped):
    node.service.gate._rate = 1.0
    many = [node.tx("north", nonce=nonce).wire for nonce in range(1, MOST_TOGETHER + 1)]
    said = [send(node, many).status]
    stopped.now += MOST_TOGETHER - 2
    said += [send(node, many[:1]).status]
    stopped.now += 1
    said += [send(node, many[:1]).status for _ in range(2)]

    assert said == [200, 429, 200, 429]


def test_whoever_keeps_asking_is_answered_as_often_as_it_may_be(node, stopped):
    gate_ = node.service.gate
    gate_._rate = 1.0
    taken = 0
    for _ in range(400):
        stopped.now += 0.1
        with suppress(gate.HttpError):
            gate_.check_rate("address 192.0.2.1")
            taken += 1

    assert 40 <= taken <= 42


def test_many_addresses_free_nobody_from_limits_who_asks_now(node, stopped):
    gate_ = node.service.gate
    gate_._rate = 1.0
    refused = 0
    for number in range(2 * gate.MOST_BUCKETS):
        gate_.check_rate(f"address {number}")
        try:
            gate_.check_rate("address greedy")
        except gate.HttpError:
            refused += 1

    assert refused == 2 * gate.MOST_BUCKETS - 2
    assert len(gate_._buckets) <= gate.MOST_BUCKETS


def test_no_more_frames_are_made_than_a_batch_may_have(node, monkeypatch):
    made = []

    def frames(data):
        for each in frames_in(data):
            made.append(each)
            yield each

    monkeypatch.setattr(batch, "frames_in", frames)
    said = node.ask("POST", BATCH, bytes(MOST_TOGETHER_BYTES))

    assert (said.status, len(made)) == (400, MOST_TOGETHER + 1)


@pytest.mark.parametrize("data", [b"\0", b"\1\0\0\0", b"\xff\xff\xff\xff"])
def test_a_frame_that_is_cut_off_is_no_frame(data):
    assert list(frames_in(frame(b"a") + frame(b""))) == [b"a", b""]
    with pytest.raises(DecodeError):
        list(frames_in(frame(b"a") + data))
