"""Every rule that makes a model of updates: found by its registration, none is listed here."""

import dataclasses

import numpy as np
import pytest
from support.updates import Round

from tallystick.mechanisms.aggregation import NotEnoughUpdatesError
from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import all_rules
from tallystick.tensors.workbench import Workbench

RULES = [kind for kind in all_rules() if hasattr(kind, "combine") and kind.id.startswith("aggr")]
EXAMPLES = [rule for kind in RULES for rule in kind.examples()]
DEFAULTS = [kind() for kind in RULES]
# These promise no bound: the first is the plain mean, the next is as its paper has it, and the last
# sees many liars who send alike, but not one who does not.
UNBOUNDED = {
    "aggregate/mean/1",
    "aggregate/l-nearest-as-published/1",
    "aggregate/foolsgold/1",
}
WIDTH = 60


def by_rule(rules):
    return pytest.mark.parametrize("rule", rules, ids=repr)


class Recording(Workbench):
    """A workbench that remembers what it was asked to combine."""

    def combine(self, parent, spec, roots, weights, combine_fn):
        self.rows = tuple(self._values(root, spec) for root in roots)
        self.weights, self.combine_fn = weights, combine_fn
        return super().combine(parent, spec, roots, weights, combine_fn)


def stage_of(rule, rows, **fields):
    """Return a stage about these rows, with the rule's references answered."""
    stage = Round(len(rows[0]), kind=np.float64)
    stage.bench = Recording(stage.blobs, 1)
    subjects = [stage.update(f"m{at:02}", row, weight=at + 1) for at, row in enumerate(rows)]
    honest = np.median(rows, axis=0).astype(int)
    refs = {
        name: [stage.update("owner", honest)] if name == "root" else subjects
        for name in rule.refs
        if name != "centre"
    }
    return stage, stage.inputs(*subjects, refs=refs, **fields)


def random_rows(count, bits=12, seed=0):
    generator = np.random.default_rng([seed, count, bits])
    return generator.integers(-(2**bits) + 1, 2**bits, (count, WIDTH))


def honest_and_liars(honest, liars):
    """Rows that agree, and rows a million times as long that say the opposite."""
    generator = np.random.default_rng(honest)
    fair = 1000 + generator.integers(-200, 201, (honest, WIDTH))
    loud = generator.integers(-(2**29), -(2**28), (liars, WIDTH))
    return fair, np.concatenate([fair, loud])


@by_rule(EXAMPLES)
@pytest.mark.parametrize("bits", [3, 12, 22, 30])
def test_columns_are_independent_however_they_are_cut(rule, bits):
    stage, inputs = stage_of(rule, random_rows(8, bits))
    rule.fold((), inputs)
    if not hasattr(stage.bench, "rows"):
        pytest.skip("too few for this example")
    rows, weights, combine = stage.bench.rows, stage.bench.weights, stage.bench.combine_fn
    whole = combine(rows, weights)

    assert whole.dtype == np.int64
    assert whole.shape == (WIDTH,)
    for step in (1, 7, 59):
        pieces = [
            combine(tuple(row[at : at + step] for row in rows), weights)
            for at in range(0, WIDTH, step)
        ]
        assert np.concatenate(pieces).tolist() == whole.tolist()


@by_rule(EXAMPLES)
def test_no_result_leaves_its_bound(rule):
    stage, inputs = stage_of(rule, random_rows(8, 20))
    rule.fold((), inputs)
    if not hasattr(stage.bench, "rows"):
        pytest.skip("too few for this example")

    made = stage.bench.combine_fn(stage.bench.rows, stage.bench.weights)
    assert np.abs(made).max() <= stage.bench.weights.bound


@by_rule(EXAMPLES)
def test_the_order_of_updates_does_not_reach_the_output(rule):
    _, inputs = stage_of(rule, random_rows(8))
    expected = rule.fold((), inputs)
    subjects = list(inputs.of[0].subjects)
    for seed in range(5):
        np.random.default_rng(seed).shuffle(subjects)
        shuffled = dataclasses.replace(inputs, of=(Output(tuple(subjects)),))

        assert rule.fold((), shuffled) == expected


@by_rule([*EXAMPLES, *DEFAULTS])
@pytest.mark.parametrize("count", range(1, 10))
def test_any_number_of_updates_makes_a_model_or_is_too_few(rule, count):
    stage, inputs = stage_of(rule, random_rows(count))
    output = rule.fold((), inputs)

    if output.void:
        assert output == Output(void="not-enough-updates")
        assert not hasattr(stage.bench, "rows")
    else:
        assert len(output.subjects) == 1


@by_rule([rule for rule in DEFAULTS if hasattr(rule, "f")])
def test_more_liars_than_the_rule_can_bear_void_the_round(rule):
    _, enough = stage_of(rule, random_rows(13))

    assert dataclasses.replace(rule, f=2).fold((), enough).live
    for f in (13, 100):
        bold = dataclasses.replace(rule, f=f)
        assert bold.fold((), enough) == Output(void="not-enough-updates")
    with pytest.raises(ValueError, match="-1"):
        dataclasses.replace(rule, f=-2)


@by_rule([rule for rule in DEFAULTS if rule.id not in UNBOUNDED])
@pytest.mark.parametrize("liars", [1, 3])
def test_liars_a_million_times_as_loud_move_a_robust_rule_little(rule, liars):
    fair, rows = honest_and_liars(13 - liars, liars)
    stage, inputs = stage_of(rule, rows)

    made = np.array(stage.steps(rule.fold((), inputs)))
    assert np.abs(made - fair.mean(axis=0)).max() < 800


@by_rule([rule for rule in DEFAULTS if rule.id in UNBOUNDED])
def test_one_liar_a_million_times_as_loud_moves_the_others_anywhere(rule):
    _, rows = honest_and_liars(12, 1)
    stage, inputs = stage_of(rule, rows)

    assert np.abs(stage.steps(rule.fold((), inputs))).max() > 2**20


@by_rule([rule for rule in DEFAULTS if rule.id != "aggregate/foolsgold/1"])
def test_those_who_agree_get_what_they_agree_on(rule):
    fair, _ = honest_and_liars(9, 0)
    stage, inputs = stage_of(rule, np.repeat(fair[:1], 9, axis=0) + np.arange(9)[:, None])

    made = np.array(stage.steps(rule.fold((), inputs)))
    assert np.abs(made - fair[0]).max() <= 9


@by_rule(DEFAULTS)
def test_no_update_in_range_voids_a_round(rule):
    rows = random_rows(12, 30)
    rows[0], rows[1], rows[2] = 2**30 - 1, 1 - 2**30, 0
    rows[3] = np.eye(1, WIDTH, dtype=int)
    stage, inputs = stage_of(rule, rows)

    output = rule.fold((), inputs)
    assert output.live
    assert np.isfinite(stage.steps(output)).all()


@by_rule([rule for rule in DEFAULTS if hasattr(rule, "f")])
def test_more_than_a_third_is_not_assumed_by_default(rule):
    assert rule.f == -1


def test_a_refusal_says_how_many_were_needed():
    error = NotEnoughUpdatesError(9, 4)

    assert (error.needed, error.got) == (9, 4)
    assert str(error) == "4 updates where the rule needs 9"
