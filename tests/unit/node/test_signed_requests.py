"""A signed request counts once, now, for what it was made for, under a key that is valid."""

import pytest
from msgspec import structs
from support.nodes import now

from tallystick.codec import encode
from tallystick.consensus.wire import REQUEST_HEADER, SIGNATURE_HEADER, SealedHeader, Sighting
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.ledger.contracts.members import key_proof
from tallystick.ledger.genesis import Key
from tallystick.ledger.messages import ProposeChange, Remove, RotateKey, Vote
from tallystick.node import gate

SUBMIT = "/v1/transactions"
NEW = keys.secret_from_seed(b"new")


def test_a_members_request_is_answered_and_only_once(node):
    tx = node.tx()
    headers = node.headers("POST", SUBMIT, tx.wire)
    first = node.ask("POST", SUBMIT, tx.wire, signed=False, headers=headers)
    again = node.ask("POST", SUBMIT, tx.wire, signed=False, headers=headers)

    assert first.status == 202
    assert (again.status, again.code) == (401, "replayed-request")


def test_what_was_signed_for_another_request_is_refused(node):
    tx, other = node.tx(), node.tx(micros=2)
    for made_for in (
        ("PUT", SUBMIT, tx.wire),
        ("POST", SUBMIT + "?a=1", tx.wire),
        ("POST", "/v1/sightings", tx.wire),
        ("POST", "/v1/%74ransactions", tx.wire),
        ("POST", SUBMIT, other.wire),
        ("POST", SUBMIT, b""),
    ):
        headers = node.headers(*made_for)
        said = node.ask("POST", SUBMIT, tx.wire, signed=False, headers=headers)

        assert (said.status, said.code) in {(401, "other-request"), (401, "other-body")}
    headers = node.headers("POST", SUBMIT, tx.wire)
    said = node.ask("POST", SUBMIT + "?more=1", tx.wire, signed=False, headers=headers)

    assert said.code == "other-request"
    assert node.clerk.engine.head.height == 0


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"at": now() - 3_600_000}, "stale-request"),
        ({"at": now() + 3_600_000}, "stale-request"),
        ({"at": 0}, "stale-request"),
        ({"at": 2**63 - 1}, "stale-request"),
        ({"genesis": bytes(32)}, "other-ledger"),
        ({"secret": NEW}, "bad-signature"),
        ({"key": 255}, "unknown-key"),
        ({"role": "validator"}, "unknown-key"),
        ({"key": 0}, "bad-signature"),
    ],
)
def test_a_request_at_another_time_or_under_another_key_is_refused(wrong, code, shared):
    said = shared.ask("POST", SUBMIT, shared.tx().wire, **wrong)

    assert (said.status, said.code) == (401, code)
    assert int(said.headers["tally-time"]) - now() < 5000


def test_a_stranger_is_refused(node):
    node.net.keyrings["nobody"] = node.net.keyrings["north"]
    said = node.ask("POST", SUBMIT, node.tx().wire, who="nobody")

    assert (said.status, said.code) == (401, "unknown-key")


def test_an_owners_key_signs_requests_too(node):
    assert node.ask("POST", SUBMIT, node.tx().wire, role="owner").status == 202


def test_what_was_signed_before_the_node_started_is_refused(node):
    said = node.ask("POST", SUBMIT, node.tx().wire, at=node.service.gate._opened - 1)

    assert (said.status, said.code) == (401, "stale-request")


def test_a_replay_is_refused_for_as_long_as_its_time_is_near(node, monkeypatch):
    clock = [now() + 10]
    monkeypatch.setattr(node.service.gate._clock, "now", lambda: clock[0])
    tx = node.tx()
    headers = node.headers("POST", SUBMIT, tx.wire, at=clock[0] + gate.STALE_MILLISECONDS)
    assert node.ask("POST", SUBMIT, tx.wire, signed=False, headers=headers).status == 202
    codes = set()
    for _ in range(30):
        clock[0] += 7_000
        node.ask("POST", SUBMIT, tx.wire, at=clock[0])  # so that old numbers are forgotten
        codes.add(node.ask("POST", SUBMIT, tx.wire, signed=False, headers=headers).code)

    assert codes == {"replayed-request", "stale-request"}
    assert len(node.service.gate._used) < 25


def test_unsigned_and_half_signed_requests_are_refused(node):
    tx = node.tx()
    whole = node.headers("POST", SUBMIT, tx.wire)
    for headers in (
        {},
        {REQUEST_HEADER: whole[REQUEST_HEADER]},
        {SIGNATURE_HEADER: whole[SIGNATURE_HEADER]},
    ):
        said = node.ask("POST", SUBMIT, tx.wire, signed=False, headers=headers)

        assert (said.status, said.code) == (401, "unsigned-request")


@pytest.mark.parametrize("text", ["", "!", "a" * 9000, "\xff\xfe", "====", "AAAA", "é", "\x00"])
@pytest.mark.parametrize("name", [REQUEST_HEADER, SIGNATURE_HEADER])
def test_headers_that_are_none_are_refused(name, text, shared):
    said = shared.ask("POST", SUBMIT, shared.tx().wire, headers={name: text})

    assert (said.status, said.code) == (401, "bad-signature")


def test_a_replaced_key_signs_no_more(node):
    public = keys.public_of(NEW)
    proof = key_proof(NEW, "south", public, node.service.chain)
    node.seal(node.tx("south", message=RotateKey(Key(public, "worker"), proof)))
    old = node.ask("POST", SUBMIT, node.tx().wire)
    new = node.ask("POST", SUBMIT, node.tx().wire, key=3, secret=NEW)

    assert (old.status, old.code) == (401, "unknown-key")
    assert new.status == 202


def test_a_member_that_was_removed_is_a_stranger(node):
    remove(node, "west")
    said = node.ask("POST", SUBMIT, node.tx().wire, who="west")

    assert (said.status, said.code) == (401, "unknown-key")


def remove(node, name):
    """Vote a member out."""
    change = Remove(name)
    node.seal(node.tx("east", message=ProposeChange(change)))
    proposal = sha256("proposal", encode(change))
    node.seal(*(node.tx(voter, message=Vote(proposal)) for voter in ("north", "south")))
    node.seal(node.tx())


def test_signing_frees_nobody_from_limits(make_node):
    node = make_node(requests_per_second=5)
    statuses = {
        node.ask("GET", "/v1/status", signed=False, headers={SIGNATURE_HEADER: "x"}).status
        for _ in range(30)
    }
    forged = [node.ask("POST", SUBMIT, b"x", secret=NEW) for _ in range(30)]

    assert statuses == {200, 429}
    assert forged[-1].status == 429
    assert "retry-after" in forged[-1].headers
    assert node.ask("POST", SUBMIT, node.tx().wire).status == 202  # a member's own share


BLOB = f"/v1/tasks/{'00' * 32}/blobs/{'00' * 32}"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", SUBMIT),
        ("POST", f"{SUBMIT}/batch"),
        ("POST", "/v1/sightings"),
        ("PUT", f"{BLOB}?offset=0&size=9"),
        ("PUT", f"{BLOB}/chunks?size=9"),
    ],
)
def test_nobodys_body_is_read_who_has_no_right_to_send_one(method, target, node):
    read = []

    def body():
        read.append(1)
        return b"x"

    class Pieces(list):
        def pop(self, _):
            return body()

    claimed = {SIGNATURE_HEADER: "x"}
    for headers in ({}, claimed, node.headers(method, target, b"x", secret=NEW)):
        run = node.loop.run_until_complete
        said = run(node.call(method, target.encode(), headers, Pieces([b""])))

        assert said.status == 401
    assert read == []


@pytest.mark.parametrize("target", [f"{BLOB}?offset=0", f"{BLOB[:-1]}?offset=0&size=9", "/v1/no"])
def test_what_is_refused_counts_for_an_address_whoever_it_claims_to_be(target, make_node):
    node = make_node(requests_per_second=5)
    claimed = {SIGNATURE_HEADER: "x"}
    said = [
        node.ask("PUT", target, b"abc", signed=False, headers=claimed).status for _ in range(30)
    ]

    assert said[0] in {400, 404}
    assert said[-1] == 429


def test_one_members_requests_cost_no_other_member(make_node):
    node = make_node(requests_per_second=5)
    greedy = [node.ask("POST", "/v1/sightings", b"x", who="north").status for _ in range(30)]

    assert greedy[-1] == 429
    assert node.ask("POST", SUBMIT, node.tx().wire, who="south").status == 202


def test_a_sighting_of_anothers_is_refused(node):
    node.seal(node.tx())
    _, _, header = node.clerk.prove(b"\x02")
    evidence = node.clerk.evidence(header.height)
    foreign = structs.replace(header, chain=bytes(32))
    for sighting, status in (
        (Sighting("south", SealedHeader(header, evidence)), 200),
        (Sighting("north", SealedHeader(header, evidence)), 403),
        (Sighting("south", SealedHeader(foreign, evidence)), 400),
        (Sighting("south", SealedHeader(header, bytes(60_000))), 413),
    ):
        assert node.ask("POST", "/v1/sightings", encode(sighting)).status == status
    assert list(node.service.sightings) == ["south"]
