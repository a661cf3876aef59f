"""Nodes that are restarted one after the other, under load and into another version of protocol."""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack

import pytest
from support.commands import execute
from support.consortia import (
    NAMES,
    Members,
    Payer,
    Witnesses,
    heights,
    ledgers,
    odd,
    row_of,
    status_of,
    until,
)
from support.odd_application import next_protocol
from support.pilot_site import Site

import tallystick as ts
from tallystick.lab.consortium import Consortium
from tallystick.ledger import kernel
from tallystick.ledger.block import header_hash
from tallystick.ledger.transaction import parse_transaction

pytestmark = pytest.mark.network

NEW = (sys.executable, "-m", "support.next_program")


def restart(consortium, name):
    """End a node as its operator does, start it, and return once it is where the others are."""
    consortium.stop(name)
    consortium.start(name)

    def is_back():
        status, found = status_of(consortium, name), heights(consortium)
        return bool(status) and not status["catching_up"] and found[name] >= max(found.values())

    until(is_back, what=f"the return of {name}")


def test_nodes_restart_one_after_the_other_under_load_and_nothing_is_lost(tmp_path):
    task = ts.Task(name="rolling", recipe="standard", rounds=4)
    with Consortium(tmp_path, NAMES, 9) as consortium, ExitStack() as paying:
        witnesses = paying.enter_context(Witnesses(consortium))
        dice = random.Random(9)
        payers = [Payer(consortium, name, NAMES[0], dice, pause=0.2) for name in NAMES[1:]]
        for payer in payers:
            paying.enter_context(payer)
        consortium.propose(task, Site(NAMES[0]).initial_parameters())
        with Members(consortium, "rolling", seconds=1.0) as members:
            for name in NAMES:
                restart(consortium, name)
            until(lambda: members.all_done, 120, "the end of the task")
        paying.close()
        until(lambda: len(set(heights(consortium).values())) == 1, what="one height")
        status = row_of(consortium, "rolling").status
        found = ledgers(consortium)

    assert status == "done"
    check_history(consortium, found, witnesses, payers)


def check_history(consortium, found, witnesses, payers):
    """One history on all nodes, with all that anybody was shown and what was acknowledged."""
    hashes = [[header_hash(block.header) for block in blocks] for blocks in found.values()]
    assert all(each == hashes[0] for each in hashes)
    chain = witnesses.chain
    assert all(chain[at] == {hashes[0][at - 1]} for at in chain if at <= len(hashes[0]))
    wires = [
        parse_transaction(wire, consortium.genesis.limits).hash
        for block in next(iter(found.values()))
        for wire in block.transactions
    ]
    assert len(wires) == len(set(wires))
    assert witnesses.transactions.keys() <= set(wires)
    for payer in payers:
        assert payer.acknowledged
        assert payer.acknowledged <= set(wires)


def test_a_protocol_goes_up_at_its_height_and_who_did_not_come_along_waits(tmp_path, monkeypatch):
    late = NAMES[3]
    with Consortium(tmp_path, NAMES, 10, heartbeat_milliseconds=1000) as consortium:
        for name in NAMES[:3]:
            consortium.programs[name] = odd("next-protocol")
            restart(consortium, name)
        last = status_of(consortium, "east")["height"] + 15
        voted = [
            execute(
                *("member", "propose", consortium.url(name), "--key", consortium.home(name)),
                *("--upgrade", f"2@{last}"),
            )[0]
            for name in NAMES[:3]
        ]
        announced = status_of(consortium, late)["upgrades"]
        consortium.wait_for_height(last + 3, NAMES[:3])
        until(lambda: status_of(consortium, late).get("failure"), what="a reason to stop")
        stopped = status_of(consortium, late)
        _, said, _ = execute("status", consortium.url(late))
        consortium.programs[late] = odd("next-protocol")
        restart(consortium, late)
        monkeypatch.setattr(kernel, "KNOWN", kernel.KNOWN)
        next_protocol()
        task = ts.Task(name="after", recipe="standard", rounds=1)
        consortium.propose(task, Site(NAMES[0]).initial_parameters())
        with Members(consortium, "after", programs=dict.fromkeys(NAMES, NEW)) as members:
            ended = [members.running[name].wait(90) for name in NAMES]
        until(lambda: len(set(heights(consortium).values())) == 1, what="one height")
        after = {name: status_of(consortium, name) for name in NAMES}
        found = ledgers(consortium)

    assert voted == [0, 0, 0]
    assert announced == [[2, last]]
    assert (stopped["height"], stopped["ok"]) == (last, False)
    assert stopped["failure"] == "the network runs protocol 2; this program knows 1"
    assert f"stopped   {stopped['failure']}" in said
    assert ended == [0, 0, 0, 0]
    assert {status["protocol"] for status in after.values()} == {2}
    assert len({header_hash(blocks[-1].header) for blocks in found.values()}) == 1
