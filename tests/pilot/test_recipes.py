"""The same terms and keys give the same model in processes as in one: draws included."""

from __future__ import annotations

import json

import pytest
from support.pilot_site import Site
from support.pilots import row_of, start_member

import tallystick as ts
from tallystick.cli import main
from tallystick.federation.datasets import own_dataset
from tallystick.lab.pilot import Pilot
from tallystick.ledger.contracts.budgets import budget
from tallystick.ledger.genesis import genesis_hash

pytestmark = pytest.mark.network

NAMES = ("east", "north", "south", "up", "west")


def test_a_pilot_draws_and_computes_what_one_process_does(tmp_path):
    task = ts.Task(name="same", recipe="bflc", rounds=3)
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


def test_a_private_task_charges_each_members_data_set(tmp_path, capsys):
    task = ts.Task(name="private", recipe="learningchain", rounds=2)
    with Pilot(tmp_path / "pilot", NAMES, seed=6) as pilot:
        pilot.propose(task, Site("east").initial_parameters())
        for name in NAMES:
            rows = tmp_path / f"{name}.csv"
            rows.write_text(f"rows of {name}")
            limits = ("--data", str(rows), "--epsilon", "10", "--delta", "1e-4")
            key = ("--key", str(pilot.home(name)))
            assert main(["member", "dataset", pilot.url, *key, *limits, "--json"]) == 0
        told = json.loads(capsys.readouterr().out.rpartition("\n{")[2].join(("{", "")))
        members = [start_member(pilot, tmp_path, name, "private") for name in NAMES]
        statuses = [member.wait(120) for member in members]
        row, state = row_of(pilot, "private"), pilot.engine().state
        spent = [budget(state, name, own_dataset(state, name)) for name in NAMES]

    assert statuses == [0] * len(NAMES)
    assert row.status == "done"
    assert bytes.fromhex(told["dataset"]) == own_dataset(state, NAMES[-1])
    assert {each.charges for each in spent} == {2}
