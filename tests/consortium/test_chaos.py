"""A consortium whose processes are killed at random: nothing is lost, nothing is done twice.

``TALLY_CHAOS_SEED`` chooses the history; `make chaos SEED=n` sets it.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter
from itertools import pairwise

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
    records_of,
    row_of,
    status_of,
    until,
)
from support.pilot_site import Site
from support.pilots import report_of

import tallystick as ts
from tallystick.lab.consortium import Consortium
from tallystick.ledger.block import header_hash
from tallystick.ledger.collect.notes import Forfeited, Paid, Shut
from tallystick.ledger.transaction import parse_transaction
from tallystick.node.processes import started_at

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.network

SEED = int(os.environ.get("TALLY_CHAOS_SEED", "1"))
ROUNDS = 20
MOST_KILLS, LEAST_KILLS = 30, 10  # the slower a machine, the fewer fit the rounds
LONGEST_SECONDS = 600
KINDS = ("node", "application", "cometbft", "member")


def test_kills_of_any_process_lose_nothing_and_repeat_nothing(tmp_path):
    dice = random.Random(SEED)
    task = ts.Task(name="chaos", recipe="bflc", rounds=ROUNDS)
    site = Site(NAMES[0])
    quiet, expected = _undisturbed(task, site, tmp_path)
    with Consortium(tmp_path / "net", NAMES, SEED) as consortium:
        consortium.propose(task, site.initial_parameters())
        payers = [
            Payer(consortium, name, payee, random.Random(f"{SEED}/{name}"), pause=1.0)
            for name, payee in pairwise(NAMES[1:])
        ]
        with (
            Witnesses(consortium) as witnesses,
            payers[0],
            payers[1],
            Members(consortium, "chaos", seconds=0.7) as members,
        ):
            kills, left = _disturb(consortium, members, dice)
        until(lambda: not any(status_of(consortium, name)["pending"] for name in NAMES))
        row = row_of(consortium, "chaos")
        found = ledgers(consortium)
        closed = [_close(consortium, name) for name in NAMES]

    assert (row.status, row.withheld, row.faulty) == ("done", (), ())
    assert row.model.root.hex() == quiet.model_root
    assert left == []
    assert kills.total() >= LEAST_KILLS
    assert {kind for kind, _ in kills} == set(KINDS)
    _check_ledgers(consortium, found, witnesses, payers)
    _check_records(consortium, found)
    paid = {payer.name: len(payer.acknowledged) for payer in payers}
    got = {payer.payee: len(payer.acknowledged) for payer in payers}
    for balances in closed:
        assert balances == {
            name: expected[name] - paid.get(name, 0) + got.get(name, 0) for name in NAMES
        }
    _check_bundles(consortium)


def _undisturbed(task, site, folder):
    """Return the same task's run in one process, and what everybody has after it."""
    kept = []
    quiet = ts.simulate(
        task,
        {name: Site(name) for name in NAMES},
        initial=site.initial_parameters(),
        seed=SEED,
        out=folder / "quiet",
        watch=kept.append,
    )
    return quiet, balances_of(kept[-1].engine.state)


def _disturb(consortium, members, dice):
    """Kill one process after the other, each once the one before is back; then let the task end.

    Returns how often each kind was killed of whom, and which processes outlived their supervisor.
    """
    started, kills, left = time.monotonic(), Counter(), []
    following = started + 5
    kinds: list[str] = []
    while not members.all_done:
        assert time.monotonic() - started < LONGEST_SECONDS, heights(consortium)
        if kills.total() < MOST_KILLS and time.monotonic() >= following:
            kinds = kinds or dice.sample(KINDS, len(KINDS))
            kind, name, at = kinds[-1], dice.choice(NAMES), time.monotonic()
            if kind == "member":
                if not members.kill(name):
                    continue
                _await_member(consortium, members, name)
            else:
                left += _kill(consortium, name, kind)
            kills[kind, name] += 1
            kinds.pop()
            back, round_ = time.monotonic() - at, row_of(consortium, "chaos").round
            LOG.warning(
                "%.0f s, round %d: %s's %s, back in %.1f s", at - started, round_, name, kind, back
            )
            following = time.monotonic() + dice.uniform(0.5, 3)
        time.sleep(0.05)
    return kills, left


def _await_member(consortium, members, name):
    at = time.time_ns() // 1_000_000
    members.keep()
    until(
        lambda: members.all_done or status_of(consortium, name).get("seen", {}).get(name, 0) > at,
        what=f"the return of {name}'s member",
    )


def _kill(consortium, name, kind):
    """Kill a process of a node; return once the node is where the others are."""
    before = consortium.pids(name)
    left = []
    if kind == "node":
        consortium.stop(name, kill=True)
        time.sleep(0.5)
        left = [pid for pid in before.values() if started_at(pid)]
        consortium.start(name)
    else:
        os.kill(before[kind], signal.SIGKILL)

    def is_back():
        now = consortium.pids(name)
        if now.get(kind) in {None, 0, before[kind]} or not all(now.values()):
            return False
        known = max(heights(consortium).values())
        status = status_of(consortium, name)  # asked last: blocks go on meanwhile
        return bool(status) and not status["catching_up"] and status["height"] >= known

    until(is_back, what=f"the return of {name}'s {kind}")
    return left


def _close(consortium, name):
    engine = consortium.engine(name)
    balances = balances_of(engine.state)
    engine.close()
    return balances


def _check_ledgers(consortium, found, witnesses, payers):
    """One history on four nodes, and in it all that anybody was shown as final."""
    hashes = [[header_hash(block.header) for block in blocks] for blocks in found.values()]
    assert all(each == hashes[0] for each in hashes)
    chain = witnesses.chain
    assert len(chain) > ROUNDS
    assert all(
        chain[height] == {hashes[0][height - 1]} for height in chain if height <= len(hashes[0])
    )
    assert all(len(seen) > ROUNDS for seen in witnesses.shown.values())
    wires = [
        parse_transaction(wire, consortium.genesis.limits).hash
        for block in next(iter(found.values()))
        for wire in block.transactions
    ]
    assert len(wires) == len(set(wires))
    assert witnesses.transactions.keys() <= set(wires)
    for payer in payers:
        assert len(payer.acknowledged) > ROUNDS
        assert payer.acknowledged <= set(wires)
        assert {receipt["code"] for receipt in payer.receipts.values()} == {0}


def _check_records(consortium, found):
    """Everybody sealed and revealed each thing once; nobody was missed, nobody paid twice."""
    sealed, revealed = records_of(next(iter(found.values())), consortium.genesis.limits)
    assert set(sealed.values()) == set(revealed.values()) == {1}
    shut = notes_of(consortium, "chaos", Shut)
    assert len(shut) > ROUNDS
    assert {note.absent for note in shut if note.full or note.window != "hold"} == {()}
    assert notes_of(consortium, "chaos", Forfeited) == []
    paid = Counter(
        (note.round, note.member, note.what) for note in notes_of(consortium, "chaos", Paid)
    )
    assert any(what == "pay" for _, _, what in paid)
    assert max(paid.values()) == 1


def _check_bundles(consortium):
    for name in NAMES:
        report = report_of(consortium, "chaos", name)
        assert report, report.checks
