"""What a member says is refused: it tries again, says why, and gives up in the end."""

import logging

import pytest
from support.pilot_site import Site

import tallystick as ts
from tallystick.federation import outbox
from tallystick.federation.trial import FUNDS


@pytest.mark.parametrize(("bond", "refused"), [(FUNDS, False), (FUNDS + 1, True)])
def test_a_member_without_the_money_for_its_bond_says_so_and_gives_up(
    tmp_path, caplog, monkeypatch, bond, refused
):
    task = ts.Task(name="dear", recipe="standard", rounds=1, stage={"update": {"bond": bond}})
    monkeypatch.setattr(outbox, "MOST_ATTEMPTS", 2)
    caplog.set_level(logging.INFO)
    run = ts.simulate(task, {name: Site(name) for name in ("east", "north", "south")}, out=tmp_path)
    why = f"'east' holds {FUNDS}, the amount is {bond}"

    assert run.completed == (not refused)
    assert (f"east: refused: {why}" in caplog.messages) is refused
    assert (f"east gives up, refused too often: {why}" in caplog.messages) is refused
