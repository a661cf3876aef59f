"""The stories of `fl-block`: checks that hold, and that fail when what they promise is broken."""

from dataclasses import replace

import numpy as np
import pytest

from tallystick.federation.conduct import Moment
from tallystick.lab.demos import DemoOptions, run_demo
from tallystick.lab.demos.checks import at_least, at_most, same, worst_of
from tallystick.lab.demos.guest import guest_checks
from tallystick.lab.demos.replacing import Replaced, Shot, replaced_checks, run_replaced
from tallystick.lab.demos.world import build_world
from tallystick.ledger.contracts import access
from tallystick.ledger.contracts.access import NoTokenError
from tallystick.mechanisms.records import Key

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def world():
    return build_world("fl-block", members=6, rounds=2, seed=2, data="wine", kind="device")


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    return world.run(tmp_path_factory.mktemp("run") / "run")


def failed(checks):
    return {check.id for check in checks if not check.ok}


# --- one device replaces the model


def test_the_attempt_is_made_once_by_whoever_trains_and_refused(world):
    found = run_replaced(world, 2)

    assert (found.attempts, found.refused) == (1, 1)
    assert found.undefended < found.before
    assert found.lowest > found.undefended
    assert found.clean is None
    assert run_replaced(world, 2, floor=1.1).clean > 0.9
    assert failed(replaced_checks(world, found)) == set()


def test_only_the_first_in_the_round_shoots():
    fired = []
    shots = [Shot(5, 3, fired, name) for name in "ab"]
    parent, trained = {"w": np.ones(2)}, {"w": np.zeros(2)}
    for number in (2, 3, 4):
        for shot in shots:
            shot.present(Moment("submit", Key(b"task", 1, number, "update", ""), "seal"))
            sent = shot.poison_update(trained, parent, np.random.default_rng(0), knowledge=None)
            assert (sent is trained) == ((number, shot) != (3, shots[0]))

    assert fired == ["a"]


def test_a_replacement_of_so_many_members_turns_their_mean_around():
    parent = {"w": np.array([1.0, -2.0], np.float32), "n": np.array(3)}
    shot = Shot(4, 0, [], "a")
    sent = shot.poison_update(dict(parent), parent, np.random.default_rng(0), knowledge=None)
    mean = {name: sum(each[name] for each in (*[parent] * 3, sent)) / 4 for name in parent}

    assert np.array_equal(mean["w"], -parent["w"])
    assert mean["n"] == -3
    assert sent["w"].dtype == np.float32


def test_a_defence_that_does_not_hold_is_told():
    digits = build_world("fl-block", members=5, rounds=10, seed=0, data="digits", kind="device")
    found = Replaced(
        seed=0,
        round=6,
        before=0.9,
        undefended=0.9,
        lowest=0.5,
        clean=None,
        attempts=1,
        refused=0,
        screened=0.1,
        honest=0.1,
    )

    assert failed(replaced_checks(digits, found)) == {
        "replaced-attempt-refused",
        "replaced-undefended-collapses",
        "replaced-defended-stands",
        "replaced-honest-screened",
    }


# --- a guest


def test_what_a_guest_may_do_and_what_not(run, world):
    checks = list(guest_checks(run, world, tokens="4-", holders="3-"))

    assert failed(checks) == set()
    assert len({check.id for check in checks}) == len(checks) == 12
    assert {check.id[0] for check in checks} == {"3", "4"}


def test_a_ledger_that_lets_everybody_do_everything_is_found_out(run, world, monkeypatch):
    monkeypatch.setattr(access, "has_right", lambda *_: True)

    assert failed(guest_checks(run, world)) >= {
        "read-only-cannot-update",
        "read-only-cannot-delete",
        "attempt-recorded",
        "revoked-fails-next-block",
        "token-expires",
    }


def test_an_attempt_that_is_not_recorded_is_found_out(run, world, monkeypatch):
    monkeypatch.setattr(NoTokenError, "recorded", False)

    assert failed(guest_checks(run, world)) == {"attempt-recorded"}


# --- the demo


def test_the_worst_of_several_seeds_is_told():
    runs = [
        [at_most("a", value, 1.0, ""), at_least("b", value, 0.2, ""), same("c", "x", "x", "")]
        for value in (0.3, 0.9, 0.5)
    ]

    assert [check.measured for check in worst_of(runs)] == [0.9, 0.3, "x"]
    runs[2][2] = same("c", "y", "x", "")
    runs[0][0] = at_most("a", 5.0, 1.0, "")
    assert [check.measured for check in worst_of(runs)] == [5.0, 0.3, "y"]


@pytest.mark.slow
def test_a_short_demo_on_another_table_keeps_its_promises(tmp_path):
    pytest.importorskip("matplotlib")
    asked = DemoOptions("fl-block", data="wine", members=6, rounds=2, out=tmp_path / "run")
    result = run_demo(asked)

    assert [check.id for check in result.failed] == []
    assert (tmp_path / "run" / "block-rate.png").exists()
    assert result.to_json()["files"]["block_rate"].endswith("block-rate.png")
    again = run_demo(replace(asked))
    assert again.run.state_root == result.run.state_root
