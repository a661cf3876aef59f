"""Rules that look beyond their own list, in a whole run on the ledger, checked offline after it."""

import tomllib

import numpy as np
import pytest

from tallystick.federation.simulation import Federation, Setup
from tallystick.federation.task_file import Task, resolve_terms
from tallystick.lab.attacks import assign, parse_attack
from tallystick.mechanisms.records import ROUND
from tallystick.provenance import read_engine, verify, write_bundle
from tallystick.tensors.model import read_model, write_model

NAMES = tuple(f"site-{number}" for number in range(1, 8))
INITIAL = {"bias": np.zeros(3, np.float32), "weights": np.zeros(20, np.float32)}

PLAIN = """
name = "run"
rounds = 3
round = ["trainers", "update", {before}"screen", {scoring}"decide", "aggregate"]

[stage]
trainers = {{rule = "select/all/1", from = "members"}}
update = {{rule = "submit/{submit}/1", who = "trainers", parent = "aggregate@-1"{earlier}}}
screen = {{rule = "screen/standard/1", of = "update", who = "members"}}
aggregate = {{rule = "aggregate/{rule}/1", of = "decide", who = "members"{references}}}
{stages}
"""
ALL = 'decide = {rule = "decide/all/1", of = "screen"}'


def recipe(rule, references="", stages=ALL, **further):
    usual = {"before": "", "scoring": "", "submit": "update", "earlier": ""}
    return PLAIN.format(rule=rule, references=references, stages=stages, **(usual | further))


RUNS = {
    "centred clipping around the last change": recipe(
        "centred-clipping", ', centre = "aggregate@-1"'
    ),
    "centred clipping of members' momentum": recipe(
        "centred-clipping",
        ', centre = "aggregate@-1"',
        submit="momentum",
        earlier=', before = "update@-1", momentum_bps = 5000',
    ),
    "fools gold over three rounds": recipe(
        "foolsgold", ', before_1 = "decide@-1", before_2 = "decide@-2"'
    ),
    "trust in the owner's update": recipe(
        "fltrust",
        ', root = "root"',
        ALL
        + """
root = {rule = "submit/update/1", who = "owner", parent = "aggregate@-1", sealed = true}
""",
        before='"root", ',
    ),
    "l nearest of equal lengths": recipe(
        "l-nearest",
        ', clip_over = "screen", reference = "median"',
        """
short = {rule = "screen/equal-norm/1", of = "screen", who = "members"}
decide = {rule = "decide/screened/1", of = "short"}
""",
        scoring='"short", ',
    ),
    "influence judged by the owner": recipe(
        "median",
        "",
        """
score = {rule = "score/roni/1", of = "screen", who = "owner", sealed = true}
decide = {rule = "decide/below-base/1", of = "score", margin_bps = 100}
""",
        scoring='"score", ',
    ),
    "bflc as published": recipe(
        "clipped-median",
        ', clip_over = "decide"',
        """
score = {rule = "score/own-data/1", of = "screen", who = "members", sealed = true}
decide = {rule = "decide/best-k-as-published/1", of = "score", k = 4}
""",
        scoring='"score", ',
    ),
}


class Walker:
    """A trainer that moves towards one, a little its own way."""

    def train(self, parameters, config):
        generator = np.random.default_rng(config["seed"])
        return {
            name: value + (0.2 * (1 - value) + generator.normal(0, 0.02, value.shape)).astype("f4")
            for name, value in parameters.items()
        }, 10

    def evaluate(self, parameters, config):
        far = max(float(np.abs(value - 1).mean()) for value in parameters.values())
        return {"accuracy": max(0.0, 1.0 - far / 4)}, 10


class Counter(Walker):
    """A trainer whose step is the number of the round, in 256ths."""

    def train(self, parameters, config):
        step = np.float32(config["round"] / 256)
        return {name: value + step for name, value in parameters.items()}, 10


def test_a_member_sends_a_share_of_what_it_sent_before(tmp_path):
    names = NAMES[:4]
    setup = Setup(dict.fromkeys(names, Counter()), durable=False)
    federation = Federation(tmp_path / "run", setup, seed=5)
    spec = write_model(INITIAL, federation.blobs.create())
    task = Task.parse(tomllib.loads(RUNS["centred clipping of members' momentum"]))
    terms = resolve_terms(task, owner=names[0], members=names, model=spec, trial=True)
    row = federation.run(federation.propose(terms))
    history = read_engine(federation.engine, row.id)
    values = [
        {
            int(np.unique(array).item())
            for subject in found.stages["update"].output.subjects
            for array in read_model(federation.blobs.open(subject.id)).arrays().values()
        }
        for found in history.rounds
        if found.phase == ROUND
    ]
    federation.close()

    assert values == [{2**16}, {2**16 * 3 // 2}, {2**16 * 9 // 4}]


@pytest.mark.parametrize("why", RUNS)
def test_a_run_ends_well_and_replays_offline(tmp_path, why):
    # One liar, who differs from everybody, is what fools gold trusts most.
    attacks = [] if "fools gold" in why else [parse_attack("sign-flip:4=1")]
    conduct = assign(attacks, list(NAMES[1:]))
    setup = Setup({name: Walker() for name in NAMES}, conduct, durable=False)
    federation = Federation(tmp_path / "run", setup, seed=5)
    spec = write_model(INITIAL, federation.blobs.create())
    task = Task.parse(tomllib.loads(RUNS[why]))
    terms = resolve_terms(task, owner=NAMES[0], members=NAMES, model=spec, trial=True)
    row = federation.run(federation.propose(terms))
    bundle = tmp_path / "run.tally"
    write_bundle(bundle, federation.engine, row.id, federation.blobs)
    values = read_model(federation.blobs.open(row.model.root)).arrays()
    genesis = federation.engine.head.chain.hex()
    federation.close()

    assert (row.status, row.completed[-1], row.voids) == ("done", 3, 0)
    assert all(0.2 < value.mean() < 0.8 for value in values.values())
    assert verify(bundle, genesis, replay=True)
