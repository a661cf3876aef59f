"""Between members and CometBFT: what is handed over, and which blocks are shown."""

import threading
from contextlib import closing

import pytest
from msgspec.structs import replace
from support.comet_ledger import lights_of
from support.relays import PATIENCE_SECONDS, until
from support.validators import VALIDATOR, new_key
from support.world import public_of

from tallystick.codec import decode
from tallystick.consensus.cometbft import rpc
from tallystick.consensus.cometbft.commits import LightBlock, check_commit, signers
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.cometbft.validators import address_of
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.finality import check_final, check_root
from tallystick.crypto.merkle_map import verify_member
from tallystick.ledger.contracts.accounts import BALANCES
from tallystick.ledger.messages import Unseat
from tallystick.node import relay as module
from tallystick.storage.sqlite import LedgerStore

# --- blocks and their evidence --------------------------------------------------------------------


def test_a_block_is_shown_once_what_the_validators_signed_is_here(site):
    site.start()
    for dt in (0, 1000, 1000):
        site.pay()
        site.decide(dt)
    until(lambda: len([each for each in site.rpc.asked if each[0] == "commit"]) > 2)
    assert (site.relay.height, site.replica.head.height) == (0, 3)
    assert site.heard == []
    site.sign([1])
    until(lambda: site.relay.height == 1)
    assert site.relay.height == 1
    site.sign([2, 3])
    until(lambda: site.heard == [1, 2, 3])

    lights = lights_of(site.world)
    assert [decode(LightBlock, block.evidence) for block in site.shown()] == list(lights.values())
    parent, before = site.replica.kernel.found()[1], b""
    for block in site.shown():
        check_final(site.world.genesis, site.world.state, parent, before, block)
        parent, before = block.header, block.evidence


def test_no_block_is_shown_before_the_one_that_it_follows(site):
    for _ in range(2):
        site.decide()
    site.sign([2])
    site.start()
    until(lambda: len([each for each in site.rpc.asked if each[0] == "commit"]) > 4)
    assert (site.relay.height, site.heard) == (0, [])
    assert {parameters["height"] for method, parameters in site.rpc.asked} == {"1"}
    site.sign([1])
    until(lambda: site.heard == [1, 2])

    assert [block.header.height for block in site.shown()] == [1, 2]


def test_after_a_restart_evidence_is_fetched_from_where_it_ended(site):
    site.start()
    for _ in range(3):
        site.decide()
    site.sign([1, 2])
    until(lambda: site.relay.height == 2)
    site.close()
    site.rpc.asked.clear()
    site.sign([3])
    site.open().start()
    until(lambda: site.relay.height == 3)

    assert site.heard == [3]
    assert site.rpc.asked == [("commit", {"height": "3"})]
    assert all(block.evidence for block in site.shown())
    assert len(site.shown()) == 3


def test_a_node_that_began_with_a_snapshot_shows_no_block_before_it_has_every_one(site, tmp_path):
    for _ in range(3):
        site.pay()
        site.world.seal(1000 if site.world.outcomes else 0)
    site.start()
    assert site.shown() == []
    site.replica.restore(dict(site.world.state.rows()), site.world.head)
    site.pay()
    site.decide()
    site.sign([4])
    until(lambda: site.heard == [4])

    assert site.relay.facts()["history_from"] == 4
    assert site.relay.facts()["catching_up"]
    for ask in (
        lambda: site.relay.framed(1, 100),
        lambda: site.relay.framed(4, 1),
        lambda: site.relay.headers(4),
        lambda: site.relay.prove(BALANCES.key("alpha")),
    ):
        with pytest.raises(RetryLaterError, match="catching up: blocks before 4"):
            ask()
    with closing(Replica(LedgerStore(tmp_path / "other"), site.world.genesis)) as other:
        for outcome in site.world.outcomes[:3]:
            header = outcome.header
            other.finalize(header.height, header.time, outcome.block.transactions)
            other.commit()
    site.replica.fill_in(tmp_path / "other")
    assert [block.header.height for block in site.shown()] == [1, 2, 3, 4]
    assert [header.height for header, _ in site.relay.headers(4)] == [4]


def test_validators_are_asked_for_when_the_set_changes_and_in_pages(site, monkeypatch):
    monkeypatch.setattr(rpc, "PAGE", 2)
    site.start()
    site.world.accept("bravo", new_key(site.world, "bravo"))
    site.world.vote(Unseat("delta"))
    for _ in range(4):
        site.world.seal()
    for outcome in site.world.outcomes:
        site.follow(outcome)
    site.sign(range(1, len(site.world.outcomes) + 1))
    until(lambda: site.relay.height == len(site.world.outcomes))
    asked = [each for method, each in site.rpc.asked if method == "validators"]

    assert [(each["height"], each["page"]) for each in asked] == [
        ("3", "1"),
        ("3", "2"),
        ("5", "1"),
        ("5", "2"),
    ]
    sizes = [len(decode(LightBlock, block.evidence).validators) for block in site.shown()]
    assert sizes == [4, 4, 4, 4, *[3] * (len(sizes) - 4)]
    for block in site.shown():
        check_commit(decode(LightBlock, block.evidence))


def test_a_vote_that_does_not_verify_does_not_make_a_block_unprovable(site):
    site.decide()
    light = lights_of(site.world)[1]
    votes = light.commit.signatures
    forged = (replace(votes[0], signature=bytes(64)), *votes[1:])
    site.rpc.lights[1] = replace(light, commit=replace(light.commit, signatures=forged))
    site.start()
    until(lambda: site.relay.height == 1)
    (block,) = site.shown()

    check_commit(decode(LightBlock, block.evidence))
    assert len(signers(decode(LightBlock, block.evidence))) == 3


def test_what_cometbft_answers_instead_of_a_commit_is_asked_for_again(site, monkeypatch):
    answers = [{}, {"signed_header": {}}, {"signed_header": None}]
    call = site.rpc.call
    monkeypatch.setattr(
        site.rpc, "call", lambda *said, **more: answers.pop() if answers else call(*said, **more)
    )
    site.decide()
    site.sign([1])
    site.start()
    until(lambda: site.relay.height == 1)

    assert answers == []
    assert site.relay.works


def test_a_state_is_proven_by_the_next_block(site):
    site.start()
    site.pay()
    site.decide()
    site.sign([1])
    until(lambda: site.relay.height == 1)
    key = BALANCES.key("bravo")
    row, proof, header = site.relay.prove(key)
    fixed = site.relay.fixed_at(header.height)
    site.decide()
    site.sign([2])
    until(lambda: site.relay.height == fixed)
    evidence = site.relay.evidence(fixed)

    assert header == site.world.outcomes[0].header
    verify_member(header.state_root, key, row, proof)
    publics = [each.public for each in decode(LightBlock, evidence).validators]
    check_root(site.world.genesis, publics, header, evidence)


# --- what the node says of it ---------------------------------------------------------------------


def test_its_status_names_validators_peers_and_what_is_missing(site):
    site.decide()
    others = [address_of(public_of(name, VALIDATOR)).hex() for name in ("bravo", "charlie")]
    site.rpc.peers = [*others, "ab" * 20]
    site.relay.clock.now = lambda: site.world.now + 4_900
    facts = site.relay.facts()

    assert facts["validators"] == ["alpha", "bravo", "charlie", "delta"]
    assert facts["peers"] == sorted(["bravo", "charlie", "ab" * 20])
    assert (facts["missing"], facts["quiet_seconds"]) == ([], 4.9)
    assert (facts["history_from"], facts["catching_up"]) == (1, False)
    assert (facts["snapshot"], facts["protocol"], facts["failure"]) == (7, 1, "")
    site.relay.clock.now = lambda: site.world.now + 5_000
    assert site.relay.facts()["missing"] == ["delta"]


def test_peers_are_looked_at_now_and_then(site, monkeypatch):
    for _ in range(5):
        site.relay.facts()
    assert [method for method, _ in site.rpc.asked] == ["net_info", "status"]
    monkeypatch.setattr(module, "PEERS_SECONDS", -1.0)
    site.rpc.dead = True

    assert site.relay.facts()["peers"] == []
    site.rpc.dead, site.rpc.catching_up = False, True
    assert site.relay.facts()["catching_up"]


def test_a_node_whose_evidence_is_far_behind_is_catching_up(site):
    site.decide()
    assert not site.relay.facts()["catching_up"]
    site.decide()

    assert site.relay.facts()["catching_up"]


class Hanging:
    """Something that is asked and answers once it is let go."""

    def __init__(self, real):
        self.real, self.begun, self.released = real, threading.Event(), threading.Event()

    def __call__(self, *said, **more):
        self.begun.set()
        assert self.released.wait(PATIENCE_SECONDS)
        return self.real(*said, **more)


def test_while_one_asks_who_is_there_others_are_told_what_was_known(site, monkeypatch):
    site.rpc.peers = ["ab" * 20]
    assert site.relay.facts()["peers"] == ["ab" * 20]
    monkeypatch.setattr(module, "PEERS_SECONDS", -1.0)
    hanging = Hanging(site.rpc.call)
    monkeypatch.setattr(site.rpc, "call", hanging)
    site.rpc.peers = []
    first = threading.Thread(target=site.relay.facts)
    first.start()
    assert hanging.begun.wait(PATIENCE_SECONDS)
    meanwhile = site.relay.facts()["peers"]
    hanging.released.set()
    first.join(PATIENCE_SECONDS)

    assert meanwhile == ["ab" * 20]
    assert site.relay.facts()["peers"] == []


def test_what_became_of_a_transaction_is_told_while_another_is_handed_over(site, monkeypatch):
    site.start()
    hanging = Hanging(site.rpc.broadcast)
    monkeypatch.setattr(site.rpc, "broadcast", hanging)
    tx = site.pay()
    handed = site.relay.submit(tx.wire)
    assert hanging.begun.wait(PATIENCE_SECONDS)
    found = []
    asking = threading.Thread(target=lambda: found.append(site.relay.outcome(tx.hash)))
    asking.start()
    asking.join(PATIENCE_SECONDS / 3)
    is_handed = handed.done()
    hanging.released.set()

    assert (found, is_handed) == ([None], False)
    assert handed.result(PATIENCE_SECONDS)[0] == tx.hash
