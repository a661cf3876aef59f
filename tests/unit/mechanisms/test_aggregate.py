import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from tallystick.errors import InvariantError
from tallystick.mechanisms.aggregate.clipped_mean import ClippedMean
from tallystick.mechanisms.aggregate.clipped_median import ClippedMedian
from tallystick.mechanisms.aggregate.mean import Mean
from tallystick.mechanisms.aggregate.median import Median
from tallystick.mechanisms.aggregation import median_of
from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import make_rule, rule_class
from tallystick.mechanisms.rule import Rule
from tallystick.tensors.model import model_bytes, read_model, write_model

RULES = [Mean(), ClippedMean(), Median(), ClippedMedian()]
BOTH_CLIPPED = [ClippedMean(), ClippedMedian()]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


@pytest.mark.parametrize("name", ["mean", "clipped-mean", "median", "clipped-median"])
def test_the_rules_are_found_by_their_ids(name):
    rule = make_rule(f"aggregate/{name}/1", {})

    assert isinstance(rule, Rule)
    assert rule_class(rule.id).yields_model
    assert list(type(rule).examples())


def test_the_mean_rounds_ties_up(make_round):
    stage = make_round(4)
    subjects = [stage.update("a", [1, 0, -1, 7]), stage.update("b", [2, 0, -2, 7])]

    assert stage.steps(Mean().fold((), stage.inputs(*subjects))) == [2, 0, -1, 7]


def test_the_median_of_an_even_number_is_rounded_down(make_round):
    stage = make_round(2)
    subjects = [stage.update(a, [v, -v]) for a, v in (("a", 1), ("b", 4), ("c", 90), ("d", 0))]

    assert stage.steps(Median().fold((), stage.inputs(*subjects))) == [2, -3]


def test_declared_weights_count_up_to_the_cap(make_round):
    stage = make_round(1)
    subjects = [stage.update("a", [0], weight=1), stage.update("b", [100], weight=1000)]

    def fold(policy, cap):
        return stage.steps(Mean().fold((), stage.inputs(*subjects, counts=(policy, cap))))

    assert fold("equal", 0) == [50]
    assert fold("declared", 3) == [75]
    assert fold("declared", 9999) == [100]


def test_committed_weights_are_the_authors_own_commitment(make_round):
    stage = make_round(1)
    subjects = [stage.update(a, [v], weight=9) for a, v in (("a", 0), ("b", 80), ("c", 1000))]
    commitments = [stage.update("a", [1], weight=5), stage.update("b", [2], weight=3)]
    inputs = stage.inputs(*subjects, refs={"commitment": commitments}, counts=("committed", 100))

    assert stage.steps(Mean().fold((), inputs)) == [30]


@each_rule
@pytest.mark.parametrize("policy", ["declared", "committed"])
def test_without_any_weight_the_round_is_void(make_round, rule, policy):
    stage = make_round(1)
    inputs = stage.inputs(
        stage.update("a", [1], weight=0), refs={"commitment": []}, counts=(policy, 10)
    )

    assert rule.fold((), inputs) == Output(void="no-weight")


def test_an_unknown_policy_is_our_bug(make_round):
    stage = make_round(1)

    with pytest.raises(InvariantError):
        Mean().fold((), stage.inputs(stage.update("a", [1]), counts=("guessed", 1)))


@each_rule
def test_only_live_subjects_count(make_round, rule):
    stage = make_round(2)
    fair = [stage.update("a", [10, 20]), stage.update("b", [10, 20])]
    refused = stage.update("c", [9999, -9999], verdict=305)

    alone = rule.fold((), stage.inputs(*fair, refs={"clip_over": fair}))
    assert rule.fold((), stage.inputs(*fair, refused, refs={"clip_over": fair})) == alone
    assert stage.steps(alone) == [10, 20]


@each_rule
def test_without_live_subjects_the_output_is_empty(make_round, rule):
    stage = make_round(2)

    assert rule.fold((), stage.inputs()) == Output()
    assert rule.fold((), stage.inputs(stage.update("a", [1, 2], verdict=304))) == Output()


@each_rule
def test_the_order_of_subjects_does_not_reach_the_output(make_round, rule):
    stage = make_round(50)
    generator = np.random.default_rng(0)
    subjects = [
        stage.update(name, generator.integers(-(2**20), 2**20, 50), weight=weight)
        for weight, name in enumerate("abcd", start=1)
    ]
    outputs = {
        rule.fold((), stage.inputs(*order, counts=("declared", 3), refs={"clip_over": order}))
        for order in itertools.permutations(subjects)
    }

    assert len(outputs) == 1


@each_rule
def test_an_update_of_another_shape_voids_the_round(make_round, rule):
    stage = make_round(2)
    wrong = [stage.update("a", [1, 2, 3]), stage.update("a", [1, 2], columns=(0, 1))]

    for subject in wrong:
        assert rule.fold((), stage.inputs(subject)) == Output(void="wrong-shape")


@each_rule
def test_a_model_that_is_not_finite_voids_the_round(make_round, rule):
    stage = make_round(1)
    stage.spec = write_model(
        {"w": np.array([np.finfo(np.float16).max], np.float16)}, stage.blobs.create(), 0
    )

    assert rule.fold((), stage.inputs(stage.update("a", [2**20]))) == Output(void="non-finite")


@each_rule
def test_weights_that_leave_64_bits_void_the_round(make_round, rule):
    stage = make_round(1)
    subject = stage.update("a", [2**30], weight=2**20)
    inputs = stage.inputs(subject, counts=("declared", 2**20))

    assert rule.fold((), inputs) == Output(void="headroom")


@each_rule
def test_a_rule_on_updates_needs_a_workbench(make_round, rule):
    stage = make_round(1)
    inputs = replace(stage.inputs(stage.update("a", [1])), workbench=None)

    with pytest.raises(InvariantError):
        rule.fold((), inputs)


def clipped_oracle(rows, over):
    """Rows shortened to the median length, in exact fractions of integers."""
    lengths = [math.isqrt(sum(v * v for v in row) << 64) for row in over]
    limit = median_of(lengths)
    scaled = []
    for row in rows:
        length = math.isqrt(sum(v * v for v in row) << 64)
        scaled.append(65536 if length <= limit else (limit << 16) // length)
    return scaled


def test_the_clipped_mean_is_exact(make_round):
    generator = np.random.default_rng(7)
    rows = [
        (generator.standard_normal(40) * 2**size).astype(int).tolist() for size in (3, 9, 9, 10, 17)
    ]
    stage = make_round(40)
    subjects = [stage.update(name, row) for name, row in zip("abcde", rows, strict=True)]

    scales = clipped_oracle(rows, rows)
    divisor = 5 * 65536
    expected = [
        (sum(s * v for s, v in zip(scales, column, strict=True)) + divisor // 2) // divisor
        for column in zip(*rows, strict=True)
    ]
    output = ClippedMean().fold((), stage.inputs(*subjects, refs={"clip_over": subjects}))
    assert stage.steps(output) == expected
    assert sorted(scales)[:2] != [65536, 65536]


def test_the_clipped_median_is_exact(make_round):
    generator = np.random.default_rng(8)
    rows = [
        (generator.standard_normal(40) * 2**size).astype(int).tolist() for size in (3, 9, 10, 17)
    ]
    stage = make_round(40)
    subjects = [stage.update(name, row) for name, row in zip("abcd", rows, strict=True)]

    scales = clipped_oracle(rows, rows)
    scaled = [[(s * v + 32768) >> 16 for v in row] for s, row in zip(scales, rows, strict=True)]
    expected = [median_of(sorted(column)) for column in zip(*scaled, strict=True)]
    output = ClippedMedian().fold((), stage.inputs(*subjects, refs={"clip_over": subjects}))
    assert stage.steps(output) == expected


@pytest.mark.parametrize("rule", BOTH_CLIPPED, ids=lambda rule: rule.id)
def test_the_length_is_set_by_all_screened_not_by_the_accepted(make_round, rule):
    stage = make_round(2)
    loud = [stage.update(name, [3000, 4000]) for name in "ab"]
    fair = [stage.update(name, [3, 4]) for name in "cde"]
    screened = [*loud, *fair, stage.update("f", [1, 2, 3], verdict=303)]

    output = rule.fold((), stage.inputs(*loud, refs={"clip_over": screened}))
    assert stage.steps(output) == [3, 4]
    assert stage.steps(rule.fold((), stage.inputs(*loud))) == [3000, 4000]


@pytest.mark.parametrize("rule", BOTH_CLIPPED, ids=lambda rule: rule.id)
def test_a_median_length_of_zero_moves_nothing(make_round, rule):
    stage = make_round(2, start=1.0)
    subjects = [stage.update("a", [0, 0]), stage.update("b", [0, 0]), stage.update("c", [5, 5])]

    output = rule.fold((), stage.inputs(*subjects))
    assert stage.steps(output) == [2**24, 2**24]


@pytest.mark.parametrize("strength", [10, 10_000, 1_000_000])
def test_one_loud_update_moves_a_clipped_mean_no_further(make_round, strength):
    stage = make_round(3)
    fair = [stage.update(name, [100, 100, 100]) for name in "abcd"]
    loud = stage.update("e", [-100 * strength] * 3)

    # A scale is a multiple of 2^-16 and rounds down: the louder, the less is left of it.
    moved = stage.steps(ClippedMean().fold((), stage.inputs(*fair, loud)))
    assert moved == sorted(moved)
    assert 60 <= moved[0] <= moved[2] <= 80


@each_rule
def test_one_update_alone_is_the_model(make_round, rule):
    stage = make_round(5, start=0.5)
    values = [1, -1, 0, 2**20, -(2**20)]
    output = rule.fold((), stage.inputs(stage.update("a", values)))

    assert stage.steps(output) == [2**23 + value for value in values]


def test_means_of_floats_agree_with_numpy(make_round):
    generator = np.random.default_rng(9)
    floats = generator.standard_normal((6, 500)) * 0.01
    counts = [1, 5, 2, 7, 7, 3]
    stage = make_round(500)
    subjects = [
        stage.update(name, np.rint(row * 2**24).astype(int), weight=count)
        for name, row, count in zip("abcdef", floats, counts, strict=True)
    ]

    output = Mean().fold((), stage.inputs(*subjects, counts=("declared", 100)))
    exact = np.average(floats, axis=0, weights=counts)
    assert np.abs(np.array(stage.steps(output)) / 2**24 - exact).max() < 1.1 * 2**-24
    model = read_model(stage.blobs.open(output.subjects[0].id)).arrays()
    assert model_bytes(model) == stage.blobs.open(output.subjects[0].id).tobytes()


@pytest.mark.parametrize(
    ("values", "median"), [([], 0), ([4], 4), ([1, 4], 2), ([9, 1, 4], 4), ([-3, 2], -1)]
)
def test_the_median_of_a_list(values, median):
    assert median_of(values) == median
