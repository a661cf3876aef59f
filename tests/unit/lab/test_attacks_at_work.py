"""Attackers in whole federations: what they get to know, and what the ledger makes of them."""

from __future__ import annotations

import numpy as np
import pytest

import tallystick as ts
from tallystick.federation.conduct import Honest
from tallystick.federation.knowledge import read_update
from tallystick.federation.trainer import TrainerError
from tallystick.lab.attacks import assign, parse_attack
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import ROUND
from tallystick.storage.blobs import FileBlobs

MEMBERS = ("ann", "bob", "cat", "dan", "eve", "fay")
INITIAL = {"steps": np.array(3), "w": np.zeros(8, np.float32)}


class Site:
    """Walks towards a point of its own and counts how often it was asked to."""

    def __init__(self, place):
        self.place = place
        self.asked = []

    def train(self, parameters, config):
        self.asked.append((config["round"], config["seed"]))
        noise = np.random.default_rng(config["seed"]).normal(0, 0.01, 8)
        step = 0.3 * (1 + 0.05 * self.place - parameters["w"]) + noise
        moved = parameters["w"] + step.astype(np.float32)
        return {"steps": parameters["steps"] + 1, "w": moved}, 10

    def evaluate(self, parameters, config):
        return {"accuracy": float(np.exp(-np.abs(parameters["w"] - 1).mean()))}, 10


class Broken(Site):
    def train(self, parameters, config):
        super().train(parameters, config)
        raise TrainerError("no power")


def play(out, recipe="chain-fl", attacks=(), rounds=3, sites=None, conduct=None, **more):
    sites = sites or {name: Site(at) for at, name in enumerate(MEMBERS)}
    task = ts.Task(name="t", recipe=recipe, rounds=rounds, score="accuracy")
    plans = [parse_attack(text) for text in attacks]
    conduct = assign(plans, list(sites)) if conduct is None else conduct
    options = {"initial": INITIAL, "out": out, "durable": False, "evaluate": False}
    return ts.simulate(task, sites, conduct=conduct, **options, **more)


def rounds_of(run):
    return [found for found in run.history.rounds if found.phase == ROUND]


def updates_of(run, number):
    """Return a round's revealed updates by author, as float arrays."""
    blobs = FileBlobs(run.out / "blobs")
    return {
        member: read_update(blobs, root, run.terms.model)
        for found in rounds_of(run)
        if found.number == number
        for root, member in run.history.updates(found)
    }


def roots_of(run, number=1):
    return {
        member: root
        for found in rounds_of(run)
        if found.number == number
        for root, member in run.history.updates(found)
    }


def reasons_of(run, member):
    return [(found.round, found.code) for found in run.refusals if found.member == member]


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[author][name], other[author][name])
        for author in one
        for name in one[author]
    )


class Curious(Honest):
    """Honest, and takes notes of everything an attacker may look at."""

    def __init__(self):
        self.notes = []

    def poison_update(self, trained, parent, generator, knowledge):
        honest, allies = dict(knowledge.everybody()), dict(knowledge.allies())
        self.notes.append((honest, allies, dict(knowledge.revealed())))
        return trained


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Two curious colluders, of whom one acts before everybody honest."""
    spies = {"ann": Curious(), "eve": Curious()}
    sites = {name: Site(at) for at, name in enumerate(MEMBERS)}
    run = play(tmp_path_factory.mktemp("watched") / "run", sites=sites, conduct=spies)
    return run, spies, sites


def test_the_omniscient_see_just_what_the_honest_then_submit(watched):
    run, spies, _ = watched

    for spy in spies.values():
        for number, (honest, _, _) in enumerate(spy.notes, 1):
            sent = updates_of(run, number)
            assert same(honest, {name: sent[name] for name in ("bob", "cat", "dan", "fay")})


def test_allies_show_each_other_what_their_trainers_gave(watched):
    run, spies, _ = watched

    for spy in spies.values():
        for number, (_, allies, _) in enumerate(spy.notes, 1):
            sent = updates_of(run, number)
            assert allies.keys() == {"ann", "eve"}
            for name in allies:
                assert np.allclose(allies[name]["w"], sent[name]["w"], atol=1e-7)
                assert allies[name]["steps"] == 1


def test_last_rounds_updates_are_known_to_all_and_the_first_round_has_none(watched):
    run, spies, _ = watched

    for spy in spies.values():
        assert spy.notes[0][2] == {}
        assert same(spy.notes[1][2], updates_of(run, 1))
        assert same(spy.notes[2][2], updates_of(run, 2))


def test_nobody_trains_twice_and_a_watched_round_is_as_one_that_is_not(watched, tmp_path):
    run, _, sites = watched
    honest = play(tmp_path / "run")

    assert all([number for number, _ in site.asked] == [1, 2, 3] for site in sites.values())
    assert roots_of(run) == roots_of(honest)
    assert run.model_root == honest.model_root


def test_who_cannot_train_is_missing_from_what_others_know(tmp_path):
    sites = {name: Site(at) for at, name in enumerate(MEMBERS)}
    sites |= {"ann": Broken(0), "fay": Broken(5)}
    spies = {"eve": Curious(), "fay": Curious()}
    run = play(tmp_path / "run", sites=sites, conduct=spies, rounds=1)
    ((honest, allies, _),) = spies["eve"].notes

    assert honest.keys() == {"bob", "cat", "dan"}
    assert allies.keys() == {"eve"}
    assert len(sites["fay"].asked) == 1
    assert roots_of(run).keys() == {"bob", "cat", "dan", "eve"}


EVERYTHING = [
    "rule-aware+omniscient=1",
    "alie+dropout-reveal:0.5=1",
    "sybil+random-scorer=1",
]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("recipe", ["standard", "bflc"])
def test_killed_at_any_block_a_run_under_attack_ends_as_if_nothing_had_happened(tmp_path, recipe):
    whole = play(tmp_path / "whole", recipe, EVERYTHING)

    def kill(federation):
        # The next member to look at this block is the first of a new process.
        if federation.engine.head.height not in seen:
            seen.add(federation.engine.head.height)
            raise KilledError

    seen = set()
    run = None
    while run is None:
        try:
            run = play(tmp_path / "killed", recipe, EVERYTHING, watch=kill)
        except KilledError:
            continue

    assert len(seen) > 12
    assert (run.state_root, run.model_root) == (whole.state_root, whole.model_root)


def test_colluders_wait_for_one_anothers_children_and_act_as_without(tmp_path):
    inline, isolated = (
        play(tmp_path / str(isolate), "standard", EVERYTHING, 2, isolate=isolate)
        for isolate in (False, True)
    )

    assert (isolated.state_root, isolated.model_root) == (inline.state_root, inline.model_root)


def test_another_seed_draws_other_drop_outs_and_the_same_seed_the_same(tmp_path):
    def senders(seed, again=""):
        attack = ["dropout-seal:0.5=3"]
        run = play(tmp_path / f"{seed}{again}", attacks=attack, rounds=6, seed=seed)
        return [frozenset(roots_of(run, number)) for number in range(1, 7)]

    assert senders(1) == senders(1, "again")
    assert senders(1) != senders(2)


def test_a_stale_update_is_refused_and_a_replayed_one_is_not(tmp_path):
    stale = play(tmp_path / "stale", attacks=["stale-sender=1"])
    replay = play(tmp_path / "replay", attacks=["replay-rider=1"])

    assert reasons_of(stale, "fay") == [(2, reasons.STALE_PARENT), (3, reasons.STALE_PARENT)]
    assert reasons_of(replay, "fay") == []
    assert len({roots_of(replay, number)["fay"] for number in (1, 2, 3)}) == 1


def test_a_copy_is_refused_as_a_duplicate_and_a_near_copy_is_not(tmp_path):
    copied = play(tmp_path / "copied", attacks=["copier=1"])
    mimicked = play(tmp_path / "mimicked", attacks=["mimic=2"])

    assert reasons_of(copied, "fay") == [(2, reasons.DUPLICATE), (3, reasons.DUPLICATE)]
    assert reasons_of(mimicked, "eve") == reasons_of(mimicked, "fay") == []


@pytest.mark.parametrize("name", ["alie", "ipm", "min-max", "min-sum", "rule-aware", "sybil"])
def test_colluders_are_not_one_anothers_duplicates(tmp_path, name):
    run = play(tmp_path / "run", attacks=[f"{name}=2"])

    assert len({*roots_of(run, 2).values()}) == len(MEMBERS)
    assert not [code for _, code in reasons_of(run, "fay") if code == reasons.DUPLICATE]


def test_two_of_six_deniers_make_honest_work_unavailable_and_one_does_not(tmp_path):
    one = play(tmp_path / "one", attacks=["hold-denier=1"])
    two = play(tmp_path / "two", attacks=["hold-denier=2"])
    gone = {(found.member, found.code) for found in two.refusals}

    assert (one.status, one.refusals) == ("done", ())
    assert two.status == "void"
    assert two.completed == 0
    assert gone == {(name, reasons.UNAVAILABLE) for name in MEMBERS[:4]}


@pytest.mark.parametrize("name", ["wrong-aggregate", "junk-signature", "dropout-attest"])
def test_a_minority_of_false_attesters_changes_nothing(tmp_path, name):
    honest = play(tmp_path / "honest", rounds=2)
    run = play(tmp_path / "run", attacks=[f"{name}=1"], rounds=2)

    assert run.status == "done"
    assert run.model_root == honest.model_root


@pytest.mark.parametrize("name", ["wrong-aggregate", "junk-signature", "dropout-attest"])
def test_a_third_of_false_attesters_stops_the_task_and_adopts_nothing(tmp_path, name):
    run = play(tmp_path / "run", attacks=[f"{name}=2"], rounds=3)

    assert (run.status, run.completed) == ("void", 0)


def test_more_than_two_thirds_who_attest_a_wrong_aggregate_are_found_out_by_replay(tmp_path):
    run = play(tmp_path / "run", attacks=["wrong-aggregate=5"], rounds=2)
    report = ts.verify(
        run.bundle, genesis=run.genesis, model=run.model_file, replay=True, blobs=run.out / "blobs"
    )

    assert run.status == "done"
    assert np.array_equal(run.model["w"], INITIAL["w"])
    assert [check.id for check in report.checks if not check.ok] == ["replay"]


@pytest.mark.parametrize(
    ("name", "stage", "window"),
    [
        ("withholder", "update", "reveal"),
        ("dropout-reveal", "update", "reveal"),
        ("dropout-seal", "update", "seal"),
        ("dropout-hold", "update", "hold"),
    ],
)
def test_the_ledger_names_who_was_missing(tmp_path, name, stage, window):
    run = play(tmp_path / "run", attacks=[f"{name}=1"], rounds=1)
    (found,) = rounds_of(run)
    (instance,) = found.stages[stage].instances.values()
    (absent,) = [shut.absent for _, shut in instance.shut if shut.window == window]

    assert run.status == "done"
    assert absent == ("fay",)


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("score-withholder", "reveal"),
        ("silent-scorer", "seal"),
        ("dropout-score", "seal"),
    ],
)
def test_scorers_who_keep_silent_are_named(tmp_path, name, window):
    run = play(tmp_path / "run", "bflc", [f"{name}=6"], rounds=1)
    (found,) = rounds_of(run)
    scores = found.stages["score"].instances.values()
    absent = [shut.absent for each in scores for _, shut in each.shut if shut.window == window]

    assert absent
    assert all(absent)
    assert found.ended[1].cause == "score-short"


@pytest.mark.parametrize("name", ["lying-scorer", "random-scorer"])
def test_what_scorers_make_up_is_taken_by_the_ledger(tmp_path, name):
    run = play(tmp_path / "run", "bflc", [f"{name}=6"], rounds=2)

    assert run.status == "done"
    assert all(found.stages["score"].closed for found in rounds_of(run))
