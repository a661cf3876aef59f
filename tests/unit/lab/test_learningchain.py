"""The stories of `learningchain`: budgets end, leaders leave out, published rules fail."""

import pytest

from tallystick.federation.recipes import load_recipe
from tallystick.lab.demos import DemoOptions, run_demo
from tallystick.lab.demos.acceptance_learningchain import (
    LONG,
    LOUD,
    PER_ROUND,
    PUBLISHED,
    privacy_of,
)
from tallystick.lab.demos.budgets import (
    epsilon_spent,
    overspend_checks,
    recomputed,
    spending_checks,
)
from tallystick.lab.demos.omission import omission_checks
from tallystick.lab.demos.playing import play
from tallystick.lab.demos.world import build_world
from tallystick.ledger.collect import attest
from tallystick.ledger.contracts import budgets
from tallystick.mechanisms.submit import private_update

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def world():
    return build_world(
        "learningchain", members=5, rounds=2, seed=3, data="breast_cancer", kind="holder"
    )


def failed(checks):
    return {check.id for check in checks if not check.ok}


# --- budgets


def test_what_is_charged_is_what_the_noise_comes_to(world):
    run = world.run()

    assert failed(spending_checks(run, 8.0)) == set()
    assert 7.9 < epsilon_spent(run.history) <= 8.0
    assert failed(spending_checks(run, 7.0)) == {"epsilon-within-budget"}


def test_a_price_that_is_not_the_noises_is_found_out(world, monkeypatch):
    run = world.run()
    honest = private_update.gaussian
    monkeypatch.setattr(private_update, "gaussian", lambda millis, apart: honest(2 * millis, apart))

    assert failed(spending_checks(run, 8.0)) == {"epsilon-recomputed"}


def test_no_round_is_completed_beyond_the_budget(world):
    assert failed(overspend_checks(world, 2, privacy_of(8.0), "6-")) == set()


def test_a_ledger_that_never_refuses_is_found_out(world, monkeypatch):
    monkeypatch.setattr(budgets, "epsilon_of", lambda *_: 0)

    assert failed(overspend_checks(world, 2, privacy_of(8.0))) == {
        "budget-lasts",
        "over-budget-refused",
    }


def test_the_published_guarantee_adds_up_round_by_round(world):
    quiet = {"privacy": privacy_of(100_000.0)}
    history = play(world, stage=PER_ROUND, options=quiet).history

    assert epsilon_spent(history) == pytest.approx(2.0, abs=0.01)  # pure epsilon: one a round
    assert recomputed(history) == 0.0  # it is of another law


# --- a leader that leaves an update out


def test_a_model_without_a_committed_update_is_refused(world):
    checks = list(omission_checks(world, "5-"))

    assert failed(checks) == set()
    assert all(check.id.startswith("5-") for check in checks)


def test_a_ledger_that_takes_one_signature_for_a_quorum_is_found_out(world, monkeypatch):
    everybody = tuple(world.members)
    monkeypatch.setattr(attest, "signers_of", lambda *_: everybody)

    assert "omission-refused" in failed(omission_checks(world))


# --- the published rule


def test_one_long_message_decides_the_published_rule_and_not_the_repaired_one():
    world = build_world(
        "learningchain",
        members=10,
        rounds=8,
        seed=3,
        data="breast_cancer",
        attacks=[f"{LONG}=1"],
    )
    quiet = {"privacy": privacy_of(100_000.0)}
    repaired = play(world, options=quiet)
    published = play(world, options=quiet, stage=PUBLISHED)

    assert world.measure(repaired.model) > 0.85
    assert world.measure(published.model) < 0.3
    assert len(repaired.history.refusals) == 8
    assert not published.history.refusals


# --- what the recipe needed


def test_another_rule_keeps_a_stages_windows_and_none_of_the_old_parameters():
    changed = load_recipe("learningchain").changed(PUBLISHED).tables

    assert changed["aggregate"]["rule"] == "aggregate/l-nearest-as-published/1"
    assert changed["aggregate"]["within"] == "2m"
    assert "reference" not in changed["aggregate"]
    assert changed["lengths"]["longest_bps"] == LOUD["lengths"]["longest_bps"]
    again = {"aggregate": {"rule": "aggregate/l-nearest/1"}}
    assert load_recipe("learningchain").changed(again) == load_recipe("learningchain")


def test_a_recipe_says_how_it_is_trained_and_a_task_may_say_otherwise(world):
    def rate(**changes):
        train = play(world, **changes).history.terms.train
        return float.fromhex(next(each.text for each in train if each.name == "lr"))

    assert world.settings["lr"] == 1.0
    assert rate(train={}) == 1.0
    assert rate(train={"lr": 0.25}) == 0.25


@pytest.mark.parametrize("recipe", ["standard", "chain-fl"])
def test_what_is_played_in_memory_is_what_runs_on_disk(recipe):
    world = build_world(recipe, members=4, rounds=2, seed=5, data="wine", attacks=["sign-flip:4=1"])
    played, run = play(world), world.run()

    assert played.state_root == run.state_root
    assert (played.model["weights"] == run.model["weights"]).all()


@pytest.mark.slow
def test_a_short_demo_among_few_keeps_its_promises(tmp_path):
    result = run_demo(
        DemoOptions("learningchain", members=6, rounds=4, seed=11, out=tmp_path / "run")
    )

    assert [check.id for check in result.failed] == []
    assert result.metrics["poisoned_refused"] == result.metrics["poisoned_updates"] == 4
