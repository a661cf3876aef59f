"""The same terms and keys give the same model in processes as in one: draws included."""

from __future__ import annotations

import pytest
from support.pilot_site import Site
from support.pilots import row_of, start_member

import tallystick as ts
from tallystick.lab.pilot import Pilot
from tallystick.ledger.genesis import genesis_hash

pytestmark = pytest.mark.network

NAMES = ("east", "north", "south", "up", "west")


@pytest.mark.parametrize("recipe", ["bflc", "fl-block"])
def test_a_pilot_draws_and_computes_what_one_process_does(tmp_path, recipe):
    task = ts.Task(name="same", recipe=recipe, rounds=3)
    sites = {name: Site(name) for name in NAMES}
    initial = sites["east"].initial_parameters()
    alone = ts.simulate(task, sites, initial=initial, seed=5, out=tmp_path / "alone")
    with Pilot(tmp_path / "pilot", NAMES, seed=5) as pilot:
        pilot.propose(task, initial)
        members = [start_member(pilot, tmp_path, name, "same") for name in NAMES]
        statuses = [member.wait(120) for member in members]
        row = row_of(pilot, "same")

    assert statuses == [0] * len(NAMES)
    assert row.model.root.hex() == alone.model_root
    for name in NAMES:
        bundle = pilot.home(name) / "same" / "run.tally"
        assert ts.verify(bundle, genesis=genesis_hash(pilot.genesis).hex(), replay=True)
