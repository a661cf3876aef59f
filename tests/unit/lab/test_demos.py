"""Demos: checks that can fail, probes that bite, and a document that keeps its keys."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tallystick.codec import encode
from tallystick.errors import ConfigError
from tallystick.lab.attacks.registry import make_attack
from tallystick.lab.demos import Check, DemoOptions, list_demos, promises, run_demo
from tallystick.lab.demos.audit import honest_refusals, money_in, replay_blocks, update_bytes
from tallystick.lab.demos.checks import at_least, at_most, holds, mean_and_worst, same
from tallystick.lab.demos.defended import measure_accuracy, reverses_mean
from tallystick.lab.demos.effect import _Replayer, measure_poison
from tallystick.lab.demos.hand import Hands
from tallystick.lab.demos.probes import VISITOR, probe, probe_checks
from tallystick.lab.demos.result import Story
from tallystick.lab.demos.stories import blob_checks, death_checks, quorum_checks, void_checks
from tallystick.lab.demos.world import build_world, member_names
from tallystick.ledger.contracts import accounts
from tallystick.ledger.messages import Transfer

pytest.importorskip("sklearn")

KEYS = {
    "format",
    "ok",
    "recipe",
    "seed",
    "members",
    "rounds",
    "data",
    "trial",
    "checks",
    "metrics",
    "refused",
    "genesis",
    "height",
    "state_root",
    "model_root",
    "model_sha256",
    "files",
}


def world_of(recipe="standard", members=4, rounds=2, attacks=(), **more):
    asked = {"seed": 1, "data": "wine", **more}
    return build_world(recipe, members=members, rounds=rounds, attacks=list(attacks), **asked)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """Plain averaging with one member that walks the wrong way, twenty times as far."""
    world = world_of("chain-fl", 4, 2, ["sign-flip:20=1"])
    return world, world.run(tmp_path_factory.mktemp("poisoned") / "run")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    out = tmp_path_factory.mktemp("told") / "run"
    options = DemoOptions(recipe="standard", data="wine", members=4, rounds=2, out=out)
    return run_demo(options)


# --- Checks


@pytest.mark.parametrize("measured", [None, math.nan])
def test_nothing_measured_never_holds(measured):
    checks = [
        at_most("a", measured, 1, ""),
        at_least("a", measured, 0, ""),
        holds("a", measured, ""),
    ]

    assert not any(check.ok for check in checks)


def test_whether_a_check_holds_follows_from_what_was_measured():
    assert at_most("a", 0.1, 0.1, "").ok
    assert not at_most("a", 0.11, 0.1, "").ok
    assert at_least("a", 2, 2, "").ok
    assert not same("a", 505, 506, "").ok


def test_mean_and_worst_are_both_reported():
    found = {check.id: check for check in mean_and_worst("x", [0.9, 0.5], "", mean=0.6, worst=0.6)}

    assert (found["x-mean"].ok, found["x-mean"].measured) == (True, 0.7)
    assert (found["x-worst"].ok, found["x-worst"].measured) == (False, 0.5)


def test_numbers_that_are_not_finite_become_null():
    assert Check("a", math.inf, "<=", 1.0, "").to_json()["measured"] is None


# --- Asking


def test_every_recipe_with_a_demo_is_listed():
    assert {"standard", "bflc", "chain-fl", "fl-block"} <= set(list_demos())


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"recipe": "nonsense"}, "nonsense"),
        ({"members": 1}, "--members is 1"),
        ({"members": 10_000}, "--members is 10000"),
        ({"rounds": 0}, "--rounds is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"target": "price"}, "--target 'price'"),
        ({"data": "nowhere.csv"}, "nowhere.csv"),
        ({"partition": "strange"}, "strange"),
        ({"attacks": ["strange=1"]}, "strange"),
        ({"attacks": ["sign-flip=9"]}, "9 attackers"),
        ({"data": "wine", "members": 100}, "100 members"),
    ],
)
def test_what_makes_no_sense_is_named(asked, named):
    with pytest.raises(ConfigError, match=named):
        run_demo(DemoOptions(**asked))


def test_attacks_that_are_given_replace_the_demos_own():
    demo = list_demos()["standard"]

    assert demo.settle(DemoOptions()).attacks == ["sign-flip:4=2"]
    assert demo.settle(DemoOptions(attacks=["none=0"])).attacks == ["none=0"]


@pytest.mark.parametrize("recipe", ["standard", "bflc"])
@pytest.mark.parametrize("members", range(5, 21))
def test_the_demos_own_attackers_are_tolerated_and_would_reverse_a_mean(recipe, members):
    demo = list_demos()[recipe]
    world = world_of(recipe, members, 1, demo.attackers(members))

    assert 3 * len(world.attackers) < members
    if members in {8, 12, 16, 20}:
        assert reverses_mean(world.attackers, members)


def test_weak_flips_do_not_reverse_a_mean():
    assert not reverses_mean({"a": make_attack("sign-flip:1")}, 8)


def test_names_sort_by_number():
    assert member_names("clinic", 12)[:2] == ("clinic-01", "clinic-02")
    assert list(member_names("clinic", 12)) == sorted(member_names("clinic", 12))


# --- Measuring


def test_a_second_replica_ends_where_the_run_did(poisoned):
    _, run = poisoned

    replica = replay_blocks(run.bundle)

    assert replica.state_root == run.state_root
    assert replica.off == ()
    assert list(replica.times) == sorted(replica.times)


def test_money_from_nowhere_is_seen(poisoned):
    _, run = poisoned
    state = replay_blocks(run.bundle).state
    before = money_in(state)

    state.commit({accounts.BALANCES.key("site"): encode(7)})

    assert money_in(state) == before + 7


def test_an_updates_ledger_bytes_count_seal_and_reveal(poisoned):
    world, run = poisoned

    sizes = update_bytes(run.bundle)

    assert len(sizes) == len(world.members) * world.rounds
    assert all(300 < size <= promises.LEDGER_BYTES for size in sizes)


@pytest.mark.parametrize(
    ("attack", "promised"),
    [
        ("sign-flip:4+lying-scorer", True),
        ("withholder", True),
        ("mimic", False),
        ("ipm+omniscient", False),
        ("sign-flip:4+backdoor", False),
    ],
)
def test_no_effect_is_promised_of_attacks_that_were_measured_only(attack, promised):
    world = world_of(attacks=["label-flip=1", f"{attack}=1"])

    assert promises.is_without_effect(world.attackers.values()) == promised


def test_a_backdoors_success_is_measured_with_the_attackers_own_trigger(tmp_path):
    world = world_of("chain-fl", attacks=["sign-flip+backdoor:4=1"])
    weights, bias = np.zeros((13, 3)), np.array([0.0, 9.0, 1.0])
    weights[-1, 0] = 3.0  # a last column of 4 is worth 12, one of 2 is worth 6
    opened = {"weights": weights, "bias": bias}
    story = Story(world, world.run(tmp_path / "run"))
    list(measure_accuracy(story))

    assert world.backdoor_success(opened) == 1.0
    assert world_of(attacks=["backdoor:2=1"]).backdoor_success(opened) == 0.0
    assert world.backdoor_success(None) is None
    assert world.honest.backdoor_success(opened) is None
    assert story.metrics["backdoor_success"] == world.backdoor_success(story.run.model)


def test_poison_that_averaging_accepts_is_shown_to_have_an_effect(poisoned):
    world, run = poisoned

    poison = measure_poison(world, run)

    assert (poison.sent, poison.refused, len(poison.accepted)) == (2, 0, 2)
    assert poison.worst > promises.EFFECT


def test_a_round_without_nobodys_update_is_the_round(poisoned, tmp_path):
    world, run = poisoned
    replayer = _Replayer(world, run, tmp_path)

    for found in run.history.rounds[1:-1]:
        made = found.stages["aggregate"].output
        assert replayer.without(found, (bytes(32), "nobody")).root == made.root


def test_a_committees_round_can_be_folded_again(tmp_path):
    world = world_of("bflc", 5, 1, ["sign-flip:4=1"])
    run = world.run(tmp_path / "run")
    replayer = _Replayer(world, run, tmp_path / "scratch")
    found = run.history.rounds[1]
    someone = next(iter(run.history.updates(found)))

    assert (
        replayer.without(found, (bytes(32), "nobody")).root == found.stages["aggregate"].output.root
    )
    assert replayer.without(found, someone).root != found.stages["aggregate"].output.root


def test_honest_refusals_name_the_worst_treated(tmp_path):
    world = world_of("standard", 4, 2, ["sign-flip:4=1"])
    run = world.run(tmp_path / "run")
    name = next(iter(world.attackers))

    nobody = honest_refusals(run, frozenset({name}))
    everybody = honest_refusals(run, frozenset())

    assert nobody.sent == 6
    assert (everybody.worst, everybody.worst_refused, everybody.worst_sent) == (name, 2, 2)
    assert everybody.refused == nobody.refused + 2


# --- Probes and stories


@pytest.mark.parametrize(
    ("recipe", "members"), [("standard", 4), ("chain-fl", 4), ("bflc", 5), ("fl-block", 5)]
)
def test_probes_are_refused_each_with_its_own_code(recipe, members):
    world = world_of(recipe, members, 2)

    checks = list(probe_checks(probe(world), world))

    assert [check.id for check in checks if not check.ok] == []
    codes = [check.bound for check in checks if check.measured is not True]
    assert len(codes) == len(set(codes))


def test_a_probe_that_is_let_through_fails():
    attempts = []

    def watch(federation):
        if not attempts:
            attempts.append(Hands().attempt(federation, VISITOR, Transfer("clinic-1", 5)))

    world_of(rounds=1).run(watch=watch, outsiders=(VISITOR,))

    assert (attempts[0].code, attempts[0].harmless) == (0, False)


def test_stories_of_absence_and_death_hold_among_four():
    world = world_of("chain-fl", 4, 3)

    checks = [*quorum_checks(world), *void_checks(world), *death_checks(world)]

    assert [check.id for check in checks if not check.ok] == []
    assert len(checks) == 9


def test_flipped_bytes_are_noticed(poisoned):
    _, run = poisoned

    assert all(check.ok for check in blob_checks(run))


# --- Telling


def test_the_document_has_what_the_contract_says(told):
    document = told.to_json()

    assert set(document) >= KEYS
    assert document["format"] == "tally.demo/1"
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document["files"]) == {"out", "bundle", "model", "ledger", "task", "metrics"}
    assert set(document["refused"][0]) == {
        "round",
        "member",
        "update",
        "code",
        "reason",
        "evidence",
    }
    assert document["metrics"]["accuracy_undefended"] < document["metrics"]["accuracy"]


def test_ok_is_the_conjunction_of_the_checks(told):
    assert told.ok == all(check.ok for check in told.checks)
    assert not replace(told, checks=(*told.checks, holds("x", None, ""))).ok
    assert not replace(told, checks=()).ok


def test_the_same_command_goes_on_in_its_folder(told):
    again = run_demo(replace(told.options))

    assert (again.run.state_root, again.run.model_root) == (
        told.run.state_root,
        told.run.model_root,
    )


def test_without_attackers_nothing_is_said_about_poison():
    result = run_demo(DemoOptions(data="wine", members=4, rounds=1, attacks=["none=0"]))
    ids = {check.id for check in result.checks}

    assert not ids & {"poison-without-effect", "undefended-collapses", "attack-costs-little"}
    assert "accuracy_undefended" not in result.metrics
    assert {"supply-constant", "replay-exact", "copied-update"} <= ids


def test_more_attackers_than_a_recipe_tolerates_are_told():
    asked = DemoOptions(data="wine", members=4, rounds=2, attacks=["sign-flip:4=3"])

    result = run_demo(asked)

    assert not result.ok
    assert "attack-costs-little" in {check.id for check in result.failed}
