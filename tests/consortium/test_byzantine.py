"""Validators that break the rules: the others refuse it, name who did it, and go on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pytest
from support.consortia import (
    NAMES,
    Members,
    Payer,
    Witnesses,
    balances_of,
    heights,
    ledgers,
    odd,
    row_of,
    status_of,
    until,
)
from support.double_votes import DoubleVote, comet
from support.pilot_site import Site

import tallystick as ts
from tallystick.errors import RejectedError
from tallystick.federation.acting import Acting
from tallystick.federation.trial import FUNDS, ROLES
from tallystick.lab.consortium import Consortium
from tallystick.ledger.block import header_hash
from tallystick.ledger.contracts import members, validators

pytestmark = pytest.mark.network

HONEST, LIAR = NAMES[:3], NAMES[3]


def test_whoever_proposes_blocks_that_no_rule_allows_is_named_and_ignored(tmp_path):
    task = ts.Task(name="odd", recipe="standard", rounds=2)
    consortium = Consortium(tmp_path, NAMES, 6)
    consortium.programs[LIAR] = odd("invalid-blocks")
    with consortium, Witnesses(consortium) as witnesses:
        consortium.propose(task, Site(NAMES[0]).initial_parameters())
        with Payer(consortium, "north", "south"), Members(consortium, "odd") as members:
            ended = [members.running[name].wait(120) for name in NAMES]
        status = row_of(consortium, "odd").status
        accused = {name: status_of(consortium, name)["accused"] for name in HONEST}
        until(lambda: len(set(heights(consortium).values())) == 1, what="one height")
        found = ledgers(consortium)
        forks = {height for height, hashes in witnesses.chain.items() if len(hashes) > 1}

    assert (ended, status) == ([0] * 4, "done")
    assert forks == set()
    assert len({header_hash(blocks[-1].header) for blocks in found.values()}) == 1
    for name in HONEST:
        assert {(each["member"], each["kind"]) for each in accused[name]} == {
            (LIAR, "invalid-proposal")
        }
        assert list((consortium.node(name) / "evidence").iterdir())


def test_whoever_votes_twice_loses_seat_key_and_money_and_the_others_go_on(tmp_path):
    with Consortium(tmp_path, NAMES, 7, heartbeat_milliseconds=1000) as consortium:
        consortium.wait_for_height(3)
        with closing(comet(consortium, "east")) as rpc:
            proof = DoubleVote(consortium, LIAR, 2, rpc)
            rpc.call("broadcast_evidence", evidence=proof.evidence())
        until(lambda: LIAR not in state_of(consortium).seats, what="the verdict")
        once = state_of(consortium)
        until(lambda: status_of(consortium, "north")["accused"], what="an accusation")
        accused = status_of(consortium, "north")["accused"]
        consortium.wait_for_height(status_of(consortium, "east")["height"] + 3, HONEST)
        with closing(comet(consortium, "east")) as rpc:
            left = rpc.call("validators")["total"]
            again = DoubleVote(consortium, "south", 2, rpc)
        with Acting.open((consortium.url("east"),), key_folder=consortium.home("east")) as acting:
            acting.act(again.message)
            with pytest.raises(RejectedError):
                acting.act(proof.message)
        twice = state_of(consortium)
        height = status_of(consortium, "east")["height"] + 3
        consortium.wait_for_height(height)
        found = ledgers(consortium)

    assert once.seats == HONEST
    assert once.balances[LIAR] == FUNDS * 9 // 10
    assert (once.valid[LIAR], once.valid["east"]) == (["owner", "worker"], list(ROLES))
    assert left == "3"
    assert (accused[0]["member"], accused[0]["kind"]) == (LIAR, "equivocation")
    assert twice.seats == NAMES[:2]
    assert twice.balances == {**once.balances, "south": FUNDS * 9 // 10}
    assert len({header_hash(blocks[height - 1].header) for blocks in found.values()}) == 1


@dataclass
class _State:
    """What a node's ledger says of everybody."""

    seats: tuple
    balances: dict
    valid: dict  # the roles of the keys that are


def state_of(consortium, name=NAMES[0]):
    engine = consortium.engine(name)
    state = engine.state
    rows = {each: state.get(members.MEMBERS, each) for each in NAMES}
    valid = {each: [key.role for key in row.keys if key.active] for each, row in rows.items()}
    found = _State(validators.seats(state), balances_of(state), valid)
    engine.close()
    return found
