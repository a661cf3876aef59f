"""From [privacy] in a task file to noise on a member's side, and to what the bundle proves."""

import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from tallystick.codec import encode
from tallystick.errors import ConfigError
from tallystick.federation.conduct import Honest
from tallystick.federation.privacy import Privacy, budget_of, promises
from tallystick.federation.run import simulate
from tallystick.federation.simulation import Federation, Setup, dataset_of
from tallystick.federation.task_file import Task, resolve_terms
from tallystick.federation.task_text import task_text
from tallystick.ledger.collect.notes import Charged
from tallystick.ledger.collect.rows import LIVE, STAGES
from tallystick.ledger.contracts import budgets
from tallystick.mechanisms.records import Artefact
from tallystick.mechanisms.theory.calibration import conversion_table
from tallystick.mechanisms.theory.rdp import epsilon_of
from tallystick.provenance import Bundle
from tallystick.provenance.derivation import derive
from tallystick.provenance.execution import HistoryError, execute
from tallystick.provenance.explain import explain
from tallystick.provenance.leaf import parse_leaf
from tallystick.provenance.records import list_records
from tallystick.provenance.spending import spending
from tallystick.provenance.verify import verify
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.layout import update_parameters
from tallystick.tensors.model import open_model, spec_of, write_model

INITIAL = {"b": np.zeros(2, np.float32), "w": np.zeros((3, 2), np.float32)}
SITES = ("east", "north", "west")
PRIVACY = {"epsilon": 8.0, "delta": 1e-4, "clip": 0.5}


class Site:
    """A trainer whose rows each ask for a step of their own."""

    def __init__(self, seed=0, rows=20):
        generator = np.random.default_rng(seed)
        self.rows = {name: generator.normal(size=(rows, *a.shape)) for name, a in INITIAL.items()}

    def contributions(self, parameters, config):
        yield {name: config["lr"] * (1 + rows) for name, rows in self.rows.items()}

    def train(self, parameters, config):
        moved = {name: (value + 0.1).astype(np.float32) for name, value in parameters.items()}
        return moved, 20

    def evaluate(self, parameters, config):
        return {"accuracy": 0.5}, 20


class Blind(Site):
    """A trainer that cannot say what its rows ask for."""

    contributions = None


def make_task(rounds=2, privacy=PRIVACY, rule="submit/private-update/1", **update):
    """Return plain averaging of private updates."""
    stages = {
        "data": {"rule": "join/dataset/1", "who": "members", "need": "1/2", "short": "abort"},
        "trainers": {"rule": "select/all/1", "from": "data"},
        "update": {
            "rule": rule,
            "data": "data",
            "who": "trainers",
            "parent": "aggregate@-1",
            "sealed": True,
            "need": "1/2",
            **update,
        },
        "aggregate": {"rule": "aggregate/mean/1", "of": "update", "who": "members"},
    }
    options = {"setup": ["data"], "round": ["trainers", "update", "aggregate"]}
    if privacy is not None:
        options["privacy"] = privacy
    return Task("private", "own/1", rounds, train={"lr": 0.1}, stage=stages, options=options)


def terms_of(task, names=SITES):
    return resolve_terms(task, owner=names[0], members=names, model=spec_of(INITIAL), trial=True)


def parameters(terms):
    update = next(stage for stage in terms.round if stage.name == "update")
    return dict(update.parameters)


def play(out, task=None, seed=0, names=SITES, **options):
    sites = {name: Site(at) for at, name in enumerate(names)}
    return simulate(
        task or make_task(), sites, initial=INITIAL, seed=seed, out=out, durable=False, **options
    )


# --- terms ----------------------------------------------------------------------------------------


def test_a_task_files_privacy_becomes_integers_in_the_terms():
    found = parameters(terms_of(make_task(60)))

    assert found == {
        "clipping_norm_micros": 500_000,
        "delta_picos": 10**8,
        "noise_multiplier_millis": 4_507,
        "table": conversion_table(10**8),
    }


def test_the_terms_promise_what_was_asked_for():
    (promise,) = promises(terms_of(make_task(60)))

    assert promise.charges == 60
    assert 0.999 * 8e9 < promise.epsilon_nanos <= 8e9
    assert promise.parameters["adjacency"] == "zero-out"
    assert budget_of(make_task(60)) == (8 * 10**9, 10**8)


def test_neighbours_that_differ_twice_as_far_take_twice_the_noise():
    near = parameters(terms_of(make_task(60)))["noise_multiplier_millis"]
    far = parameters(terms_of(make_task(60, adjacency="replace-one")))["noise_multiplier_millis"]

    assert 0 <= 2 * near - far <= 2


def test_a_stages_own_integers_count_before_the_tasks():
    found = parameters(terms_of(make_task(60, noise_multiplier_millis=100_000)))

    assert found["noise_multiplier_millis"] == 100_000
    assert found["clipping_norm_micros"] == 500_000


def test_noise_for_fewer_rounds_is_less():
    short = make_task(60, {**PRIVACY, "rounds": 15})

    assert parameters(terms_of(short)) == parameters(terms_of(make_task(15)))


def test_the_published_rule_takes_its_epsilon_from_its_own_stage():
    rule = "submit/private-update-as-published/1"
    terms = terms_of(make_task(100, rule=rule, epsilon_millis=1000))
    (promise,) = promises(terms)

    assert "noise_multiplier_millis" not in parameters(terms)
    assert 90e9 < promise.epsilon_nanos < 101e9


def test_a_task_survives_its_own_text(tmp_path):
    path = tmp_path / "task.toml"
    path.write_text(task_text(make_task()), encoding="utf-8")

    assert terms_of(Task.load(path)) == terms_of(make_task())


@pytest.mark.parametrize(
    ("privacy", "told"),
    [
        (None, "'privacy' is missing"),
        ("strict", "not a table"),
        ({**PRIVACY, "sigma": 1}, "unknown key 'sigma'"),
        ({"epsilon": 8.0, "delta": 1e-4}, "'clip' in .privacy. is missing"),
        ({**PRIVACY, "epsilon": 0}, "'epsilon'"),
        ({**PRIVACY, "epsilon": "8"}, "'epsilon'"),
        ({**PRIVACY, "delta": 1.0}, "'delta'"),
        ({**PRIVACY, "delta": 1e-13}, "less than the ledger counts"),
        ({**PRIVACY, "rounds": 0}, "'rounds'"),
        ({**PRIVACY, "epsilon": 1e-6}, "out of reach"),
    ],
    ids=str,
)
def test_privacy_that_makes_no_sense_is_refused(privacy, told):
    with pytest.raises(ConfigError, match=told):
        terms_of(make_task(60, privacy))


def test_privacy_that_nothing_costs_is_refused():
    task = Task("plain", "chain-fl", options={"privacy": PRIVACY})

    with pytest.raises(ConfigError, match="no stage"):
        terms_of(task)


@pytest.mark.parametrize("wrong", [{"adjacency": "far"}, {"delta_picos": "small"}], ids=str)
def test_a_stage_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match="stage 'update'"):
        terms_of(make_task(**wrong))


def test_decimals_are_read_as_they_are_written():
    assert Privacy.parse({"epsilon": 0.1, "delta": 1e-5, "clip": 0.3}, 7) == Privacy(
        10**8, 10**7, 300_000, 7
    )


# --- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return play(tmp_path_factory.mktemp("private") / "run")


def test_a_private_run_verifies_and_replays(run):
    report = verify(run.bundle, run.genesis, model=run.model_file, replay=True)

    assert run.status == "done"
    assert report.ok
    assert {check.id for check in report.checks} >= {"history", "replay"}


def test_the_log_says_what_was_spent_and_anyone_can_add_it_up(run):
    last = {each.member: each for each in spending(run.history)}
    cost = run.history.plan.find(1, "update").charge
    twice = tuple(2 * each for each in cost.rdp)

    assert set(last) == set(SITES)
    for member, spent in last.items():
        assert spent.charges == 2
        assert spent.epsilon_nanos == epsilon_of(twice, conversion_table(spent.delta_picos))
        assert spent.epsilon_nanos <= 8 * 10**9
        assert spent.dataset == dataset_of(0, member)


def test_the_explanation_tells_the_epsilon(run):
    told = [line for line in explain(run.history, member="north").lines if "epsilon" in line]
    whole = [line for line in explain(run.history).lines if "epsilon" in line]

    assert len(told) == 2
    assert "in 1 charges" in told[0]
    assert "at delta 0.0001 by this task so far, in 2 charges" in told[1]
    assert len(whole) == len(SITES)


def test_the_records_show_every_charge(run):
    with Bundle(run.bundle) as bundle:
        leaves = execute(bundle).leaves
    found = list(list_records(leaves, kind="charged", member="west"))

    assert [each["round"] for each in found] == [1, 2]
    assert {each["dataset"] for each in found} == {dataset_of(0, "west").hex()}


def test_no_charge_can_be_forged_or_left_out(run):
    with Bundle(run.bundle) as bundle:
        executed = execute(bundle)
    genesis = executed.kernel.genesis
    tried = 0
    for number, (height, leaf) in enumerate(executed.leaves):
        note = parse_leaf(leaf)
        if not isinstance(note, Charged):
            continue
        tried += 1
        other = encode(msgspec.structs.replace(note, dataset=bytes(32)))
        for forged in ([(height, other)], []):
            leaves = [*executed.leaves[:number], *forged, *executed.leaves[number + 1 :]]

            with pytest.raises(HistoryError, match=r"record \d+"):
                derive(genesis, run.task_id, leaves, executed.timeline)
    assert tried == 2 * len(SITES)


def test_the_same_seed_gives_the_same_terms_and_other_noise(run, tmp_path):
    again = play(tmp_path / "again")

    assert again.genesis == run.genesis
    assert again.task_id == run.task_id
    assert again.model_root != run.model_root


def test_the_round_after_the_last_one_that_was_paid_for_takes_no_update(tmp_path):
    task = make_task(3, {**PRIVACY, "rounds": 2})
    run = play(tmp_path / "run", task)
    log = (tmp_path / "run" / "run.log").read_text(encoding="utf-8")

    assert run.completed == 2
    assert [found.ended[1].cause for found in run.history.rounds if found.phase == 1] == [
        "",
        "",
        "update-short",
    ]
    assert log.count("loses its turn: epsilon would be") == len(SITES)
    assert verify(run.bundle, run.genesis, replay=True).ok


def test_a_run_that_was_interrupted_sends_the_same_noisy_updates(tmp_path):
    """Stopped when every update is made and sealed; whoever goes on finds them in its journal."""

    class StopError(Exception):
        pass

    def stop(federation):
        row = federation.row(federation.engine.state.get(LIVE)[0])
        for key in row.open:
            stage = federation.engine.state.get(STAGES, key)
            if key.stage == "update" and stage.window == "reveal":
                found.update(journalled(federation, key))
                raise StopError

    found = {}
    with pytest.raises(StopError):
        play(tmp_path / "run", watch=stop)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    one, two = play(tmp_path / "run"), play(tmp_path / "copy")
    first = next(each for each in one.history.rounds if each.phase == 1)

    assert {(member, root) for root, member in one.history.updates(first)} == set(found.items())
    assert one.completed == two.completed == 2
    assert (
        first.ended[1].model == next(r for r in two.history.rounds if r.phase == 1).ended[1].model
    )
    assert one.model_root != two.model_root  # the second round drew fresh noise


def journalled(federation, key):
    """Return the root each member has in its journal for a stage."""
    return {name: member._journal.get(key).root for name, member in federation.members.items()}


def test_whoever_changes_its_update_sends_it_as_it_is(tmp_path):
    """A dishonest member is bound by nothing: neither clip nor noise; the others cannot see it."""

    class Shouting(Honest):
        def poison_update(self, trained, parent, generator, knowledge):
            return {name: value + np.float32(3) for name, value in parent.items()}

    run = play(tmp_path / "run", make_task(1), conduct={"west": Shouting()})
    first = next(each for each in run.history.rounds if each.phase == 1)
    root = next(root for root, member in run.history.updates(first) if member == "west")
    data = FileBlobs(run.out / "blobs", durable=False).open(root)
    steps = open_model(data, update_parameters(spec_of(INITIAL).parameters)).arrays()

    assert all((values == 3 * 2**24).all() for values in steps.values())


@pytest.mark.parametrize("isolate", [False, True], ids=["inline", "child"])
@pytest.mark.parametrize("unit", ["row", "update"])
def test_every_unit_can_be_protected_by_any_process(tmp_path, unit, isolate):
    run = play(
        tmp_path / "run", make_task(1, {**PRIVACY, "epsilon": 1e5}, unit=unit), isolate=isolate
    )

    assert run.completed == 1
    assert run.model["w"].mean() == pytest.approx(0.1, abs=0.06)


def test_a_trainer_that_knows_no_rows_is_named_before_anything_runs(tmp_path):
    sites = {"east": Site(), "north": Blind(), "west": Site()}

    with pytest.raises(ConfigError, match="'north' has no contributions"):
        simulate(make_task(), sites, initial=INITIAL, out=tmp_path / "run")
    run = simulate(
        make_task(1, unit="update"), sites, initial=INITIAL, out=tmp_path / "run", durable=False
    )
    assert run.completed == 1


def test_nobody_enrols_under_terms_that_understate(tmp_path):
    small = [each - 10**9 for each in conversion_table(10**8)]
    run = play(tmp_path / "run", make_task(1, table=small))

    assert run.status == "aborted"
    assert "understates" in (tmp_path / "run" / "run.log").read_text(encoding="utf-8")


def test_a_member_without_a_data_set_enrols_nothing(tmp_path):
    terms_task = make_task(1)
    trainers = {name: Site() for name in SITES}
    federation = Federation(tmp_path / "run", Setup(trainers, durable=False), seed=0)
    spec = write_model(INITIAL, federation.blobs.create())
    terms = resolve_terms(terms_task, owner="east", members=SITES, model=spec, trial=True)
    row = federation.run(federation.propose(terms))
    federation.close()

    assert row.status == "aborted"


def test_the_ledgers_state_holds_what_was_spent_over_all_tasks(tmp_path):
    trainers = {name: Site(at) for at, name in enumerate(SITES)}
    setup = Setup(trainers, durable=False, budget=(8 * 10**9, 10**8))
    federation = Federation(tmp_path / "run", setup, seed=0)
    spec = write_model(INITIAL, federation.blobs.create())
    for name in ("first", "second"):
        task = replace(make_task(1), name=name)
        terms = resolve_terms(task, owner="east", members=SITES, model=spec, trial=True)
        row = federation.run(federation.propose(terms))
        known = budgets.budget(federation.engine.state, "north", dataset_of(0, "north"))

        assert known.charges == {"first": 1, "second": 1}[name]
        assert row.completed == {"first": (1,), "second": ()}[name]
    federation.close()


def test_what_a_member_names_is_only_a_root(run):
    setup_round = next(each for each in run.history.rounds if each.phase == 0)
    named = {
        sent.member: sent.entry.record for sent in setup_round.stages["data"].instances[""].sent
    }

    assert named == {name: Artefact(dataset_of(0, name), 0) for name in SITES}
