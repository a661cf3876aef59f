"""A row of a ledger, proven: what does not show it names the node."""

from dataclasses import replace

import msgspec
import pytest
from support import liars
from support.liars import (
    GENESIS,
    OTHER,
    Ledger,
    bends,
    lie_of,
    row_of,
)

from tallystick.codec import encode
from tallystick.crypto import keys
from tallystick.ledger.contracts import accounts


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
