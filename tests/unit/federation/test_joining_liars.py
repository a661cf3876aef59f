"""Taking part through nodes that lie, die or talk nonsense: work goes on while one is honest."""

import json
import logging
import threading
import time
from contextlib import ExitStack, closing

import pytest
from support.liars import GENESIS, NET, Ledger, Liar, Reply, refused, resealed, shows
from support.sites import Site

from tallystick.consensus.witness import LyingNodeError
from tallystick.errors import TallyError, VerificationError
from tallystick.federation import poll
from tallystick.federation.joining import join
from tallystick.federation.key_file import save_keyring
from tallystick.ledger.genesis import genesis_hash


@pytest.fixture
def nodes():
    """Return a ledger of three blocks, and a maker of nodes that serve it."""
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(Ledger()))
        ledger.grow(3)

        def make():
            return stack.enter_context(closing(Liar(ledger)))

        yield ledger, make


@pytest.fixture
def take_part(tmp_path):
    save_keyring(tmp_path, NET.keyrings["south"])

    def run(*listed, **options):
        urls = [node.url for node in listed]
        given = {"genesis": genesis_hash(GENESIS).hex(), "once": True, **options}
        return join(urls, task="t", trainer=Site(), home=tmp_path, **given)

    return run


def evidence(tmp_path):
    return [json.loads(path.read_text()) for path in tmp_path.glob("member/evidence/*.json")]


def test_a_member_goes_on_with_an_honest_node_after_a_lie(nodes, take_part, tmp_path, caplog):
    ledger, make = nodes
    lying, honest = make(), make()
    lying.bend = shows(resealed(ledger.blocks()[0], state_root=b"x" * 32))
    with caplog.at_level(logging.ERROR):
        joined = take_part(lying, honest)

    assert joined.status == "waiting"
    assert [(each["lie"], each["node"]) for each in evidence(tmp_path)] == [
        ("false-state", lying.url)
    ]
    assert sum(lying.url in line for line in caplog.messages) == 1


def test_a_member_with_lying_nodes_alone_stops_and_says_so(nodes, take_part, tmp_path):
    ledger, make = nodes
    lying = [make(), make()]
    for node in lying:
        node.bend = shows(resealed(ledger.blocks()[0], state_root=b"x" * 32))
    with pytest.raises(LyingNodeError) as caught:
        take_part(*lying)

    assert caught.value.evidence.exists()
    assert {each["node"] for each in evidence(tmp_path)} == {node.url for node in lying}


def test_a_member_passes_over_dead_nodes_and_nonsense(nodes, take_part, tmp_path):
    _, make = nodes
    dead, nonsense, busy, honest = make(), make(), make(), make()
    dead.close()
    nonsense.bend = lambda *_: Reply(404, b"<html>Welcome</html>")
    busy.bend = lambda *_: refused(503, "retry-later")

    assert take_part(dead, nonsense, busy, honest).status == "waiting"
    assert evidence(tmp_path) == []


def test_another_ledger_is_none_to_take_part_in(nodes, take_part):
    _, make = nodes
    with pytest.raises(VerificationError, match="serves the ledger trial"):
        take_part(make(), genesis="00" * 32)


def test_a_node_that_refuses_for_a_while_ends_no_member(nodes, take_part, monkeypatch):
    ledger, make = nodes
    monkeypatch.setattr(poll, "FIRST_PAUSE_SECONDS", 0.01)
    node = make()
    began = time.monotonic()
    replies = [
        refused(400, "bad-input"),
        Reply(500),
        Reply(raw=b""),
        refused(403, "no-part"),
        Reply(body=b"garbage"),
    ]

    ended = []

    def bend(asked, honest):
        if "/v1/blocks" not in asked.path or time.monotonic() - began < 0.3:
            return honest
        return replies.pop() if replies else lies(asked, honest)

    def run():
        try:
            take_part(node, once=False)
        except TallyError as error:
            ended.append(error)

    lies = shows(resealed(ledger.blocks()[0], chain=b"c" * 32))
    node.bend = bend
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)

    assert replies == []
    assert [type(error) for error in ended] == [LyingNodeError]  # not before it lied
