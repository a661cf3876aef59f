"""A member that is away for most of a task holds the whole proof in the end."""

from __future__ import annotations

import time

import pytest
from support.pilot_site import Site
from support.pilots import report_of, row_of, start_member

import tallystick as ts
from tallystick.lab.pilot import Pilot
from tallystick.ledger.collect.notes import Shut
from tallystick.ledger.collect.rows import NAMES as TASKS_BY_NAME
from tallystick.provenance.leaf import parse_leaf

pytestmark = pytest.mark.network

NAMES = ("east", "north", "south", "west")
SHORT = {"within": "6s", "reveal": "6s", "hold": "6s"}
STAGES = {
    "update": SHORT,
    **{name: {"within": "6s"} for name in ("screen", "peers", "aggregate")},
}


def test_whoever_was_away_fetches_what_it_missed(tmp_path):
    task = ts.Task(name="away", recipe="standard", rounds=3, stage=STAGES)
    with Pilot(tmp_path / "pilot", NAMES, seed=8) as pilot:
        pilot.propose(task, Site("east").initial_parameters())
        members = {name: start_member(pilot, tmp_path, name, "away") for name in NAMES}
        wait_until(lambda: has_begun(pilot))
        members["west"].kill()
        members["west"].wait()
        others = [members[name].wait(120) for name in NAMES[:-1]]
        row = row_of(pilot, "away")
        returned = start_member(pilot, tmp_path, "west", "away").wait(60)

    assert (others, returned) == ([0, 0, 0], 0)
    assert row.status == "done"
    for name in NAMES:
        report = report_of(pilot, "away", name)
        assert report, report.checks
        assert report.model_root == row.model.root.hex()


def test_a_task_that_is_aborted_ends_for_whoever_took_part(tmp_path):
    task = ts.Task(name="lapsed", recipe="standard", options={"approve_within": "5s"})
    with Pilot(tmp_path / "pilot", NAMES, seed=9) as pilot:
        pilot.propose(task, Site("east").initial_parameters())
        started = [start_member(pilot, tmp_path, name, "lapsed") for name in NAMES[:2]]
        ended = [member.wait(60) for member in started]
        again = start_member(pilot, tmp_path, "east", "lapsed").wait(60)

    assert (ended, again) == ([1, 1], 1)
    assert "lapsed: aborted" in (tmp_path / "east.log").read_text()


def test_a_slow_evaluation_costs_no_turn(tmp_path):
    task = ts.Task(name="slow", recipe="standard", rounds=2, stage=STAGES)
    with Pilot(tmp_path / "pilot", NAMES, seed=10) as pilot:
        pilot.propose(task, Site("east").initial_parameters())
        members = [start_member(pilot, tmp_path, name, "slow", judging=5.0) for name in NAMES]
        ended = [member.wait(90) for member in members]
        leaves = pilot.engine().leaves(row_of(pilot, "slow").id)
        shut = [leaf for _, data in leaves if isinstance(leaf := parse_leaf(data), Shut)]

    assert ended == [0] * len(NAMES)
    assert len(shut) > 4
    assert [leaf for leaf in shut if leaf.full] == []  # nobody was waited for in vain


def has_begun(pilot):
    state = pilot.engine().state
    return state.get(TASKS_BY_NAME, "away") is not None and row_of(pilot, "away").phase == 1


def wait_until(done, seconds=60):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)
