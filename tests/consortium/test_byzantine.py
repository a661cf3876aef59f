"""Validators that break the rules: the others refuse it, name who did it, and go on."""

from __future__ import annotations

import sys
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
    notes_of,
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
from tallystick.ledger.collect.notes import Attested, Forfeited, Shut
from tallystick.ledger.contracts import members, validators

pytestmark = pytest.mark.network

HONEST, LIAR = NAMES[:3], NAMES[3]


def test_invalid_blocks_and_wrong_aggregates_change_nothing_and_their_author_is_named(tmp_path):
    task = ts.Task(name="odd", recipe="standard", rounds=2)
    sites = {name: Site(name) for name in NAMES}
    initial = sites[NAMES[0]].initial_parameters()
    quiet = ts.simulate(task, sites, initial=initial, seed=6, out=tmp_path / "quiet")
    consortium = Consortium(tmp_path / "net", NAMES, 6)
    consortium.programs[LIAR] = odd("invalid-blocks")
    with consortium, Witnesses(consortium) as witnesses:
        consortium.propose(task, initial)
        programs = {LIAR: (sys.executable, "-m", "support.odd_member")}
        with (
            Payer(consortium, "north", "south"),
            Members(consortium, "odd", programs=programs) as members,
        ):
            ended = [members.running[name].wait(120) for name in NAMES]
        row, attested = row_of(consortium, "odd"), notes_of(consortium, "odd", Attested)
        accused = {name: status_of(consortium, name)["accused"] for name in HONEST}
        until(lambda: len(set(heights(consortium).values())) == 1, what="one height")
        found = ledgers(consortium)
        forks = {height for height, hashes in witnesses.chain.items() if len(hashes) > 1}

    assert (ended, row.status) == ([0] * 4, "done")
    assert row.model.root.hex() == quiet.model_root
    aggregates = [note for note in attested if note.key.stage == "aggregate"]
    assert len(aggregates) == task.rounds
    assert all(LIAR not in note.signers for note in aggregates)
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


def test_members_refuse_what_nodes_falsely_serve_and_go_on_with_others(tmp_path):
    window = dict.fromkeys(("within", "reveal", "hold"), "15s")
    task = ts.Task(name="lies", recipe="standard", rounds=1, stage={"update": window})
    consortium = Consortium(tmp_path, NAMES, 12, heartbeat_milliseconds=1000)
    consortium.programs = {
        "north": odd("withholding"),
        "south": odd("false-blocks"),
        "west": odd("wrong-bytes"),
    }
    with consortium:
        consortium.propose(task, Site(NAMES[0]).initial_parameters())
        urls = {name: [consortium.url(name), consortium.url("east")] for name in ("south", "west")}
        with Members(consortium, "lies", urls=urls) as members:
            ended = [members.running[name].wait(150) for name in ("east", "south", "west")]
        row = row_of(consortium, "lies")
        shut, forfeited = (notes_of(consortium, "lies", kind) for kind in (Shut, Forfeited))

    assert (ended, row.status, row.completed) == ([0, 0, 0], "done", (1,))
    assert [len(note.lost) for note in shut if note.lost] == [1]  # north's update, unpunished
    assert forfeited == []
    assert kinds(consortium.home("east") / "member") == set()
    assert kinds(consortium.home("south") / "member") == {"unsealed-block"}
    assert kinds(consortium.home("west") / "member") == {"wrong-blob"}


def kinds(folder):
    """Return what kinds of lies there is evidence of in a folder."""
    return {
        path.stem.partition("-")[2].rpartition("-")[0]
        for path in (folder / "evidence").glob("*.json")
    }


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
