"""Organisations that hang, and members that all fall silent: who can go on does, and says so."""

from __future__ import annotations

import signal
import time

import pytest
from support.commands import execute
from support.consortia import (
    NAMES,
    Members,
    Witnesses,
    go_on,
    heights,
    notes_of,
    row_of,
    status_of,
    stop,
    timed_notes,
    until,
)
from support.pilot_site import Site

import tallystick as ts
from tallystick.lab.consortium import Consortium
from tallystick.ledger.collect.notes import Opened, RoundEnded, Shut

pytestmark = pytest.mark.network

HEARTBEAT_MILLISECONDS = 500


def windows(length):
    """Return the standard recipe's stages with windows of so many seconds."""
    window = f"{length}s"
    update = {"update": {"within": window, "reveal": window, "hold": window}}
    return {**update, **{name: {"within": window} for name in ("screen", "peers", "aggregate")}}


def test_one_of_four_may_hang_and_two_may_not(tmp_path):
    running, hung = NAMES[:2], NAMES[2:]
    task = ts.Task(name="hang", recipe="standard", rounds=2, stage=windows(8))
    with (
        Consortium(tmp_path, NAMES, 3, heartbeat_milliseconds=HEARTBEAT_MILLISECONDS) as consortium,
        Witnesses(consortium) as witnesses,
    ):
        consortium.propose(task, Site(NAMES[0]).initial_parameters())
        with Members(consortium, "hang", seconds=1.0) as members:
            until(lambda: row_of(consortium, "hang").round >= 1, what="the first round")
            stop(consortium, "west")
            try:
                others = [members.running[name].wait(150) for name in NAMES[:3]]
                row, rounds = row_of(consortium, "hang"), notes_of(consortium, "hang", RoundEnded)
            finally:
                go_on(consortium, "west")
            last = members.running["west"].wait(60)
        until(lambda: len(set(heights(consortium).values())) == 1, what="one height")
        stop(consortium, *hung)
        try:
            until(
                lambda: all(_names(consortium, name) == set(hung) for name in running),
                what="a status that names who is missing",
            )
            before = heights(consortium, running)
            time.sleep(5)
            after = heights(consortium, running)
            _, said, _ = execute("status", consortium.url("east"))
            quiet = status_of(consortium, "east")["quiet_seconds"]
        finally:
            go_on(consortium, *hung)
        until(lambda: min(heights(consortium).values()) > max(after.values()), 15, "a block")
        forks = {height for height, found in witnesses.chain.items() if len(found) > 1}

    assert (others, last) == ([0, 0, 0], 0)
    assert row.status == "done"
    assert [note.cause for note in rounds if note.phase == 1] == ["", ""]
    assert before == after
    assert quiet > 5
    assert "waits     for south, west" in said
    assert forks == set()


def _names(consortium, name):
    return set(status_of(consortium, name).get("missing", ()))


def test_a_stage_ends_though_everybody_is_silent_for_a_minute(tmp_path):
    within, silent = 40, 60
    task = ts.Task(name="silent", recipe="standard", rounds=2, stage=windows(within))
    with Consortium(tmp_path, NAMES, 4, heartbeat_milliseconds=1000) as consortium:
        consortium.propose(task, Site(NAMES[0]).initial_parameters())
        with Members(consortium, "silent", seconds=2.0) as members:
            until(lambda: row_of(consortium, "silent").round >= 1, what="the first round")
            for name in NAMES:
                members.signal(name, signal.SIGSTOP)
            time.sleep(silent)
            opened = timed_notes(consortium, "silent", Opened)
            shut = timed_notes(consortium, "silent", Shut)
            for name in NAMES:
                members.signal(name, signal.SIGCONT)
            ended = [members.running[name].wait(120) for name in NAMES]
        row, rounds = row_of(consortium, "silent"), notes_of(consortium, "silent", RoundEnded)

    ((at, missed),) = [each for each in shut if each[1].full]
    (began,) = [time for time, note in opened if note.key == missed.key]
    assert (missed.key.stage, missed.key.round, missed.absent) == ("update", 1, NAMES)
    assert within <= (at - began) / 1000 < within + 10
    assert ended == [0, 0, 0, 0]
    assert row.status == "done"
    assert [(note.round, bool(note.cause)) for note in rounds if note.phase == 1] == [
        (1, True),
        (2, False),
    ]
