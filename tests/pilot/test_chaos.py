"""A pilot whose processes are killed at random moments: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from support.consortia import records_of
from support.pilot_site import Site
from support.pilots import report_of, row_of, start_member

import tallystick as ts
from tallystick.lab.pilot import Pilot

pytestmark = pytest.mark.network

NAMES = ("east", "north", "south", "west")
ROUNDS, KILLS = 20, 30
LONGEST_SECONDS = 400


class Members:
    """The members' processes, started again whenever they end before the task does."""

    def __init__(self, pilot, folder):
        self.pilot, self.folder = pilot, folder
        self.running = {}
        self.done = set()
        self.kills = Counter()

    def start(self, name):
        self.running[name] = start_member(
            self.pilot, self.folder, name, "chaos", log=self.folder / "trained.log", seconds=0.7
        )

    def keep(self):
        """Start who is not running; note who has finished."""
        for name in NAMES:
            process = self.running.get(name)
            if name in self.done or (process is not None and process.poll() is None):
                continue
            if process is not None and process.returncode == 0:
                self.done.add(name)
            else:
                self.start(name)

    def kill(self, name):
        process = self.running.get(name)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
            self.kills[name] += 1

    def end(self):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.mark.parametrize("seed", [1])
def test_thirty_kills_lose_nothing_and_repeat_nothing(tmp_path, seed):
    dice = random.Random(seed)
    task = ts.Task(name="chaos", recipe="standard", rounds=ROUNDS)
    sites = {name: Site(name) for name in NAMES}
    quiet = ts.simulate(
        task, sites, initial=sites["east"].initial_parameters(), seed=seed, out=tmp_path / "quiet"
    )
    with Pilot(tmp_path / "pilot", NAMES, seed) as pilot:
        pilot.propose(task, sites["east"].initial_parameters())
        members = Members(pilot, tmp_path)
        try:
            kills = _disturb(pilot, members, dice)
        finally:
            members.end()
        blocks = list(pilot.engine().blocks(1))

    assert kills == KILLS
    sealed, revealed = records_of(blocks, pilot.genesis.limits)
    assert set(sealed.values()) == {1}
    assert set(revealed.values()) == {1}
    trained = Counter((tmp_path / "trained.log").read_text().splitlines())
    again = Counter(dict.fromkeys(NAMES, 0))
    for line, times in trained.items():
        again[line.split()[0]] += times - 1
    assert all(again[name] <= members.kills[name] for name in NAMES)
    for name in NAMES:
        report = report_of(pilot, "chaos", name)
        assert report, report.checks
    row = row_of(pilot, "chaos")
    assert (row.status, row.withheld, row.faulty) == ("done", (), ())
    assert row.model.root.hex() == quiet.model_root
    assert not quiet.refusals


def _disturb(pilot, members, dice):
    """Kill processes at random moments until there were enough, then let the task end."""
    started, kills = time.monotonic(), 0
    following = time.monotonic() + 5
    while len(members.done) < len(NAMES):
        assert time.monotonic() - started < LONGEST_SECONDS
        members.keep()
        if kills < KILLS and time.monotonic() >= following:
            victim = dice.choice((*NAMES, "node", "node"))
            if victim == "node":
                pilot.stop(kill=True)
                pilot.start()
            else:
                members.kill(victim)
            kills += 1
            following = time.monotonic() + dice.expovariate(1 / 1.2)
        time.sleep(0.05)
    return kills
