"""The rules against floats: the same selections, and results within the rounding they state."""

import numpy as np
import pytest
from support import oracles
from support.cases import Case
from support.updates import Round

from tallystick.errors import ConfigError
from tallystick.mechanisms.aggregation import Geometry, Mixing
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.registry import make_rule
from tallystick.tensors.model import model_bytes, read_model, write_model
from tallystick.tensors.workbench import Workbench

BLOCK = 20
BLOCKS = 10
by_case = pytest.mark.parametrize(
    "block",
    [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, BLOCKS))],
)
HALF = 0.5 + 1e-6


def cases(block, **settings):
    return [Case(block * BLOCK + number, **settings) for number in range(BLOCK)]


def close(found, expected, allowed):
    assert not isinstance(found, str), found
    assert np.abs(found - expected).max() <= allowed
    return True


@by_case
def test_trimmed_means_agree(block):
    for case in cases(block):
        expected = oracles.trimmed_mean(case.rows, case.f)

        assert close(case.fold("trimmed-mean", f=case.f), expected, HALF)


@by_case
def test_means_around_the_median_agree(block):
    for case in cases(block):
        expected = oracles.around_median(case.rows, case.f)

        assert close(case.fold("mean-around-median", f=case.f), expected, HALF)


@by_case
def test_krum_chooses_the_same_update(block):
    for case in cases(block, least=7):
        chosen = oracles.krum_order(case.rows, case.f)[0]

        assert close(case.fold("krum", f=case.f), case.rows[chosen], 0)


@by_case
def test_multi_krum_chooses_the_same_updates(block):
    for case in cases(block, least=7):
        for m in (1, case.n - case.f):
            expected = oracles.multi_krum(case.rows, case.f, m)

            assert close(case.fold("multi-krum", f=case.f, m=m), expected, HALF)
        expected = oracles.multi_krum(case.rows, case.f, case.n - case.f - 2)
        assert close(case.fold("multi-krum", f=case.f), expected, HALF)


@by_case
@pytest.mark.parametrize("iterations", [1, 5, 32])
def test_geometric_medians_agree(block, iterations):
    for case in cases(block):
        expected = oracles.geometric_median(case.rows, iterations)
        allowed = HALF + case.n * case.size * 2**-28

        assert close(case.fold("geometric-median", iterations=iterations), expected, allowed)


@by_case
def test_the_geometric_median_has_settled(block):
    for case in cases(block):
        settled = oracles.geometric_median(case.rows, 1000)

        found = case.fold("geometric-median")
        lengths = [np.linalg.norm(case.rows - at, axis=1).sum() for at in (found, settled)]
        assert lengths[0] <= lengths[1] * 1.001


@by_case
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("radius", [0, 40_000])
def test_centred_clipping_agrees_without_a_centre(block, iterations, radius):
    for case in cases(block):
        expected = oracles.centred_clipping(case.rows, 0 * case.rows[0], radius, iterations)
        allowed = HALF + iterations * 2 * case.size * 2**-15

        found = case.fold("centred-clipping", iterations=iterations, radius=radius)
        assert close(found, expected, allowed)


@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("radius", [0, 40_000])
def test_centred_clipping_agrees_around_the_models_last_change(number, radius):
    case = Case(number)
    stage = Round(case.rows.shape[1], kind=np.float64)
    before = (stage.spec.root, stage.spec.size)
    last = np.rint(case.generator.standard_normal(case.rows.shape[1]) * case.size / 8)
    update = stage.update("last", last)
    moved = make_rule("aggregate/mean/1", {}).fold((), stage.inputs(update))
    inputs = stage.inputs(*(stage.update(f"m{at}", row) for at, row in enumerate(case.rows)))
    inputs.refs["centre"] = moved
    assert moved.subjects[0].parent == before[0]

    expected = oracles.centred_clipping(case.rows, last, radius, 2)
    rule = make_rule("aggregate/centred-clipping/1", {"radius": radius, "iterations": 2})
    found = np.array(stage.steps(rule.fold((), inputs)), float)
    assert close(found, expected, HALF + 4 * case.size * 2**-15)


def test_a_centre_that_is_no_model_is_none(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [4, 8]) for name in "abc"]
    rule = make_rule("aggregate/centred-clipping/1", {})
    alone = rule.fold((), stage.inputs(*subjects))

    for centre in (Output(), Output((subjects[0],)), Output((Subject(stage.spec.root, ""),))):
        inputs = stage.inputs(*subjects)
        inputs.refs["centre"] = centre
        assert rule.fold((), inputs) == alone


@by_case
def test_equal_norms_agree(block):
    for case in cases(block):
        scaled = oracles.to_one_length(case.rows)
        allowed = HALF + case.size * 2**-15

        assert close(case.fold("equal-norm"), scaled.mean(axis=0), allowed)


@by_case
@pytest.mark.parametrize("reference", ["sum", "median"])
@pytest.mark.parametrize("equal", [True, False])
def test_l_nearest_chooses_the_same_updates(block, reference, equal):
    for case in cases(block):
        for count in {1, case.n - case.f}:
            expected = oracles.l_nearest(case.rows, count, reference, equal=equal)
            settings = {"l": count, "f": case.f, "reference": reference, "equal_norms": equal}

            found = case.fold("l-nearest", **settings)
            assert close(found, expected, HALF + case.size * 2**-15 * equal)


@by_case
def test_l_nearest_as_published_chooses_the_same_updates(block):
    for case in cases(block):
        for count in (1, case.n, 99):
            expected = oracles.l_nearest(case.rows, min(count, case.n), "sum", equal=False)

            assert close(case.fold("l-nearest-as-published", l=count), expected, HALF)


AFTER = {
    "mean": lambda rows, f: rows.mean(axis=0),
    "median": lambda rows, f: np.median(rows, axis=0),
    "trimmed-mean": oracles.trimmed_mean,
    "mean-around-median": oracles.around_median,
    "geometric-median": lambda rows, f: oracles.geometric_median(rows, 32),
}


@by_case
@pytest.mark.parametrize("after", AFTER)
def test_mixtures_of_nearest_neighbours_agree(block, after):
    for case in cases(block):
        expected = AFTER[after](oracles.mixtures(case.rows, case.f), case.f)

        found = case.fold("nearest-neighbour-mixing", then=f"aggregate/{after}/1", f=case.f)
        # Around a median, values equally far may swap once they are rounded; they differ by ties.
        allowed = 2 + case.n * case.size * 2**-28 + (after == "mean-around-median") * 1.5
        assert close(found, expected, allowed)


@by_case
@pytest.mark.parametrize("after", ["krum", "multi-krum"])
def test_krum_on_mixtures_chooses_the_same(block, after):
    for case in cases(block, least=7):
        mixed = oracles.mixtures(case.rows, case.f)
        m = 1 if after == "krum" else case.n - case.f - 2
        order = oracles.krum_order(mixed, case.f)
        found = case.fold("nearest-neighbour-mixing", then=f"aggregate/{after}/1", f=case.f)

        # Mixtures of the same neighbours are equal, and which of them is taken makes no difference.
        assert close(found, mixed[order[:m]].mean(axis=0), 1 + 1e-6 * case.size)


@by_case
@pytest.mark.parametrize("s", [1, 2, 3])
def test_buckets_are_dealt_by_the_beacon(block, s):
    for case in cases(block):
        dealt = case.rows[case.order_of_tickets()]
        buckets = np.stack([dealt[at : at + s].mean(axis=0) for at in range(0, case.n, s)])

        assert close(case.fold("bucketing", s=s), np.median(buckets, axis=0), 1 + HALF)


@by_case
def test_trust_in_a_root_update_agrees(block):
    for case in cases(block):
        roots = case.rows.mean(axis=0) + case.size / 9 * case.generator.standard_normal(
            (2, case.rows.shape[1])
        )
        roots = np.rint(roots)
        expected = oracles.fltrust(case.rows, roots.mean(axis=0))

        found = case.fold("fltrust", refs={"root": [("owner", each) for each in roots]})
        assert close(found, expected, HALF + 1e-4 * np.linalg.norm(roots.mean(axis=0)))


@by_case
def test_fools_gold_agrees(block):
    for case in cases(block):
        copies = case.generator.integers(0, case.n // 2 + 1)
        case.rows[:copies] = case.rows[0]
        case.rows[:copies, 0] += np.arange(copies)
        earlier = np.rint(
            case.rows + case.size / 4 * case.generator.standard_normal(case.rows.shape)
        )
        trust = oracles.foolsgold_trust(case.rows + earlier[: case.n])
        history = [(f"m{at:02}", row) for at, row in enumerate(earlier)]
        found = case.fold(
            "foolsgold", refs={"before_1": history, "before_3": [("gone", earlier[0])]}
        )

        if trust.any():
            expected = trust @ case.rows / trust.sum()
            assert close(found, expected, HALF + 1e-3 * case.size)
        else:
            assert found == "no-weight"


# --- what the paper's own rule does not bear


def test_one_long_update_defines_what_is_near_as_published_and_not_in_ours():
    case = Case(3)
    honest = 1000 + 100 * case.generator.standard_normal((20, 30))
    case.n, case.rows = 20, np.rint(honest)
    case.rows[0] *= -50
    fair = case.rows[1:].mean(axis=0)

    published = case.fold("l-nearest-as-published", l=10)
    assert fair @ published < 0  # the model is driven the other way
    for reference in ("sum", "median"):
        ours = case.fold("l-nearest", l=10, reference=reference)
        assert np.linalg.norm(ours - fair) < 0.2 * np.linalg.norm(fair)


# --- edges


def test_lengths_of_mixtures_are_those_of_their_products(make_round):
    stage = make_round(2)
    inputs = stage.inputs(stage.update("a", [3, 4]), stage.update("b", [5, -12]))
    mixing = Mixing(((1, 1), (2, 0)), 2)
    geometry = Geometry(inputs, inputs.live, (), mixing=mixing)

    assert geometry.gram[0][0] == 8 * 8 + 8 * 8
    assert sorted(geometry.squared_norms) == sorted(geometry.squared_norms_over)
    assert geometry.squared_norms[1] in {4 * 25, 4 * 169}
    assert geometry.largest == (12, 12)


def test_an_update_without_length_or_with_counters_only_voids_no_round():
    blobs = Round(1).blobs
    arrays = {"n": np.zeros(4, np.int64), "w": np.zeros(3, np.float64)}
    stage = Round(1)
    stage.spec = write_model(arrays, blobs.create())
    stage.bench = Workbench(blobs, 1)

    def update(author, counters, steps):
        data = model_bytes({"n": np.array(counters, np.int32), "w": np.array(steps, np.int32)})
        root, size = blobs.put(data)
        return Subject(root, author, columns=(size, 1), parent=stage.spec.root)

    # One step long and with the largest counters: to bring it to the length of the others would
    # multiply these by a thousand.
    tricky = update("t", [2**30, -(2**30), 1, 0], [1, 0, 0])
    empty = update("e", [5, 5, 5, 5], [0, 0, 0])
    fair = [update(name, [10, 10, 10, 10], [1000 + at, 0, 0]) for at, name in enumerate("abcd")]
    for rule in ("equal-norm", "l-nearest", "fltrust"):
        inputs = stage.inputs(tricky, empty, *fair, refs={"root": fair[:1]})
        output = make_rule(f"aggregate/{rule}/1", {}).fold((), inputs)

        values = read_model(blobs.open(output.live[0].id)).arrays()
        assert np.abs(values["n"]).max() < 2**31
        assert 0 <= values["w"][0] * 2**24 <= 1004


def test_nobody_to_trust_is_no_weight_and_no_root_is_too_few(make_round):
    stage = make_round(2)
    subjects = [stage.update(name, [5, at]) for at, name in enumerate("abc")]
    rule = make_rule("aggregate/fltrust/1", {})

    against = stage.inputs(*subjects, refs={"root": [stage.update("owner", [-5, 0])]})
    assert rule.fold((), against) == Output(void="no-weight")
    unshaped = stage.inputs(*subjects, refs={"root": [stage.update("owner", [1, 2, 3])]})
    assert rule.fold((), unshaped) == Output(void="not-enough-updates")
    assert rule.fold((), stage.inputs(*subjects)) == Output(void="not-enough-updates")


def test_a_root_update_is_a_measure_and_no_part_of_the_result(make_round):
    stage = make_round(2)
    inputs = stage.inputs(
        stage.update("a", [300, 400]), refs={"root": [stage.update("owner", [5, 0])]}
    )

    assert stage.steps(make_rule("aggregate/fltrust/1", {}).fold((), inputs)) == [3, 4]


def test_identities_that_send_alike_for_rounds_lose_their_weight(make_round):
    stage = make_round(4)
    honest = {name: np.eye(4, dtype=int)[at] * 1000 for at, name in enumerate("abc")}
    sybils = {name: [9, 9, 9, -1000 - at] for at, name in enumerate("xyz")}
    now = [stage.update(name, row) for name, row in (honest | sybils).items()]
    before = [stage.update(name, [7 + at, 1, 1, 1]) for at, name in enumerate("abcxyz")]
    rule = make_rule("aggregate/foolsgold/1", {})

    alone = stage.steps(rule.fold((), stage.inputs(*now)))
    assert alone == [333, 333, 333, 0]
    with_history = stage.inputs(*now, refs={"before_1": now, "before_2": before})
    assert stage.steps(rule.fold((), with_history))[3] == 0


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("multi-krum", {"m": -1}),
        ("geometric-median", {"iterations": 0}),
        ("geometric-median", {"iterations": 1001}),
        ("centred-clipping", {"radius": -1}),
        ("centred-clipping", {"iterations": 0}),
        ("centred-clipping", {"iterations": 9}),
        ("l-nearest", {"l": -1}),
        ("l-nearest", {"reference": "mean"}),
        ("l-nearest-as-published", {"l": 0}),
        ("nearest-neighbour-mixing", {"then": "aggregate/clipped-mean/1"}),
        ("bucketing", {"then": "decide/all/1"}),
        ("bucketing", {"s": 0}),
    ],
)
def test_parameters_without_meaning_are_refused(rule, settings):
    with pytest.raises(ConfigError):
        make_rule(f"aggregate/{rule}/1", settings)


def test_l_is_checked_against_how_many_can_be_honest(make_round):
    stage = make_round(3)
    subjects = [stage.update(f"m{at}", [9, at, 0]) for at in range(10)]

    def fold(**settings):
        return make_rule("aggregate/l-nearest/1", settings).fold((), stage.inputs(*subjects))

    assert fold(l=6, f=4).live
    assert fold(l=7, f=4) == Output(void="not-enough-updates")
    assert fold(l=7).live
    assert fold(l=8) == Output(void="not-enough-updates")


@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_krum_is_refused_below_two_f_and_three(make_round, f):
    stage = make_round(2)
    subjects = [stage.update(f"m{at}", [at, 1]) for at in range(2 * f + 3)]
    for name in ("krum", "multi-krum"):
        rule = make_rule(f"aggregate/{name}/1", {"f": f})

        assert rule.fold((), stage.inputs(*subjects)).live
        assert rule.fold((), stage.inputs(*subjects[1:])) == Output(void="not-enough-updates")


def test_multi_krum_averages_no_more_than_can_be_honest(make_round):
    stage = make_round(2)
    subjects = [stage.update(f"m{at}", [at, 1]) for at in range(7)]

    assert (
        make_rule("aggregate/multi-krum/1", {"f": 2, "m": 5}).fold((), stage.inputs(*subjects)).live
    )
    many = make_rule("aggregate/multi-krum/1", {"f": 2, "m": 6})
    assert many.fold((), stage.inputs(*subjects)) == Output(void="not-enough-updates")
