"""What a member does before an update leaves it: clip exactly, cover, and say no more."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import ConfigError
from tallystick.mechanisms.theory.calibration import conversion_table
from tallystick.mechanisms.theory.noise import Gaussian, UniformDirection
from tallystick.mechanisms.theory.protection import ClippedSum
from tallystick.mechanisms.theory.rdp import epsilon_of, gaussian
from tallystick.tensors.spec import ModelSpec, Parameter

MICROS = 10**6
FINE, COARSE = -24, -8
PARAMETERS = (
    Parameter("b", (3,), "F32", FINE),
    Parameter("seen", (2,), "I64", 0),
    Parameter("w", (2, 2), "F64", COARSE),
)
MODEL = ModelSpec(bytes(32), 1, PARAMETERS)
LINE = ModelSpec(bytes(32), 1, (Parameter("w", (1,), "F64", FINE),))


def entropy(seed):
    """Return a source of bytes that a test can repeat."""
    return np.random.default_rng(seed).bytes


def batch(values):
    """Return seven numbers a row as contributions to both float tensors."""
    rows = np.asarray(values, np.float64).reshape(-1, 7)
    return {"b": rows[:, :3], "w": rows[:, 3:].reshape(-1, 2, 2)}


def squared_micros(total):
    """Return the exact squared length of a sum, in squares of 2^FINE steps times 10^12."""
    fine = sum(int(each) ** 2 for each in total["b"])
    coarse = sum(int(each) ** 2 for each in total["w"]) << (2 * (COARSE - FINE))
    return (fine + coarse) * MICROS**2


numbers = st.one_of(
    st.floats(-1e3, 1e3), st.floats(allow_nan=False, allow_infinity=False), st.just(1e-9)
)


@given(st.lists(numbers, min_size=7, max_size=7), st.integers(1, 100 * MICROS))
def test_no_contribution_is_longer_than_the_clipping_norm_rounding_counted(values, clip):
    total = ClippedSum(MODEL, clip)
    total.add(batch(values))

    assert squared_micros(total.totals) <= (clip << -FINE) ** 2


@given(st.lists(st.floats(-0.1, 0.1), min_size=7, max_size=7))
def test_a_short_contribution_is_put_on_the_grid_and_else_left_alone(values):
    total = ClippedSum(MODEL, MICROS)
    total.add(batch(values))

    assert np.allclose(total.totals["b"], np.multiply(values[:3], 2.0**-FINE), atol=1.5)
    assert np.allclose(total.totals["w"], np.multiply(values[3:], 2.0**-COARSE), atol=1.5)


def test_a_long_contribution_keeps_its_direction():
    total = ClippedSum(MODEL, 2 * MICROS)
    total.add(batch([3e200, 0, 0, 0, 4e200, 0, 0]))

    # Its square leaves float64, so nothing is known of its length: it counts as no change.
    assert not any(each.any() for each in total.totals.values())
    total.add(batch([300.0, 0, 0, 0, 400.0, 0, 0]))
    assert total.totals["b"] == pytest.approx([1.2 * 2**24, 0, 0], rel=2**-8)
    assert total.totals["w"] == pytest.approx([0, 1.6 * 2**8, 0, 0], rel=2**-8)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_contribution_that_is_not_finite_counts_as_no_change(wrong):
    total = ClippedSum(MODEL, MICROS)
    total.add(batch([[wrong, 0, 0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0, 0]]))

    assert total.count == 2
    assert total.totals["b"][0] == 2**23


def test_how_rows_are_cut_into_batches_changes_nothing():
    rows = np.random.default_rng(0).normal(size=(50, 7))
    whole, parts = ClippedSum(MODEL, MICROS), ClippedSum(MODEL, MICROS)
    whole.add(batch(rows))
    for start in range(0, 50, 7):
        part = whole.fresh()
        part.add(batch(rows[start : start + 7]))
        parts.merge(part.totals, part.count)

    assert parts.count == whole.count == 50
    assert all((parts.totals[name] == whole.totals[name]).all() for name in ("b", "w"))


def test_integer_tensors_stay_as_they_are():
    total = ClippedSum(MODEL, MICROS)
    total.add(batch(np.ones(7)))
    steps = total.protect(Gaussian(3.0), entropy(0))

    assert set(steps) == {"b", "seen", "w"}
    assert not steps["seen"].any()
    assert steps["b"].all()
    assert all(each.dtype == np.int32 for each in steps.values())


def test_without_noise_the_mean_is_what_leaves():
    total = ClippedSum(MODEL, 10 * MICROS)
    total.add(batch([[1.0] * 7, [2.0] * 7]))
    steps = total.protect(Gaussian(0.0), entropy(0))
    parent = {"b": np.ones(3, np.float32), "seen": np.ones(2, np.int64), "w": np.ones((2, 2))}

    assert (steps["b"] == 3 * 2**23).all()
    assert (steps["w"] == 3 * 2**7).all()
    applied = total.applied(parent)
    assert (applied["b"] == 2.5).all()
    assert applied["b"].dtype == np.float32
    assert (applied["seen"] == 1).all()


@pytest.mark.parametrize("count", [1, 20])
def test_noise_is_on_the_sum_in_clipping_norms(count):
    model = ModelSpec(bytes(32), 1, (Parameter("w", (40_000,), "F32", FINE),))
    total = ClippedSum(model, MICROS // 2)
    total.merge({}, count)
    values = total.protect(Gaussian(4.0), entropy(1))["w"] * 2.0**FINE * count

    assert values.std() == pytest.approx(4.0 * 0.5, rel=0.02)
    assert abs(values.mean()) < 0.05
    assert np.mean(np.abs(values) < 2.0) == pytest.approx(0.6827, abs=0.01)


def test_noise_of_any_size_stays_in_31_bits():
    total = ClippedSum(LINE, 100 * MICROS)
    total.merge({}, 1)
    values = {int(total.protect(Gaussian(1e9), entropy(at))["w"][0]) for at in range(20)}

    assert values == {1 - 2**31, 2**31 - 1}


@pytest.mark.parametrize("dimension", [1, 2, 31])
def test_published_noise_has_a_uniform_direction_and_a_gamma_length(dimension):
    law, drawn = UniformDirection(2.0), entropy(3)
    noise = np.array([law.draw(dimension, drawn) for _ in range(4000)])
    lengths = np.linalg.norm(noise, axis=1)

    assert lengths.mean() == pytest.approx(2.0 * dimension, rel=0.05)
    assert lengths.var() == pytest.approx(4.0 * dimension, rel=0.15)
    assert np.abs((noise / lengths[:, None]).mean(axis=0)).max() < 0.06


def steps_of(contribution):
    """Return the steps of a row of one number, at a clipping norm of 1."""
    total = ClippedSum(LINE, MICROS)
    total.add({"w": np.array([[contribution]])})
    return total.totals["w"]


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_published_noise_keeps_its_epsilon_in_every_bin(epsilon):
    """Neighbours under zero-out: a row at the clipping norm, and no change at all."""
    drawn, law, sent = entropy(4), UniformDirection(1 / epsilon), []
    for contribution in (5.0, 0.0):
        total = ClippedSum(LINE, MICROS)
        total.merge({"w": steps_of(contribution)}, 1)
        values = [int(total.protect(law, drawn)["w"][0]) for _ in range(4000)]
        sent.append(np.histogram(np.array(values) * 2.0**FINE, np.linspace(-2.0, 3.0, 6))[0])
    here, there = sent
    full = (here > 100) & (there > 100)

    assert full.sum() >= 2
    assert np.abs(np.log(here[full] / there[full])).max() < epsilon + 0.3


@pytest.mark.parametrize("noise", [1, 3])
def test_empirical_epsilon_stays_within_the_claim(noise):
    """Who knows both neighbours guesses which it was, as well as anybody can; many draws at once.

    Neighbours under zero-out: a row at the clipping norm, and no change at all.
    """
    times, delta = 200_000, 0.01
    wide = ModelSpec(bytes(32), 1, (Parameter("w", (times,), "F64", FINE),))
    sent = []
    for seed, contribution in ((6, 5.0), (7, 0.0)):
        total = ClippedSum(wide, MICROS)
        total.merge({"w": np.repeat(steps_of(contribution), times)}, 1)
        sent.append(total.protect(Gaussian(noise), entropy(seed))["w"] * 2.0**FINE)
    shown = []
    for threshold in np.linspace(-noise, 2 * noise + 1, 25):
        hit, miss = (float(np.mean(each > threshold)) for each in sent)
        if miss > 0.001 and hit > delta:
            shown.append(math.log((hit - delta) / miss))
    claim = epsilon_of(gaussian(noise * 1000, 1), conversion_table(10**10)) / 10**9

    assert 0.3 * claim < max(shown) < claim


def test_noise_differs_from_draw_to_draw():
    law, drawn = Gaussian(1.0), entropy(8)

    assert not np.array_equal(law.draw(10, drawn), law.draw(10, drawn))
    assert np.array_equal(law.draw(10, entropy(9)), law.draw(10, entropy(9)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"b": np.zeros((2, 3)), "w": np.zeros((3, 2, 2))},
        {"b": np.zeros((2, 4)), "w": np.zeros((2, 2, 2))},
        {"b": np.zeros(3), "w": np.zeros((2, 2))},
    ],
    ids=["rows differ", "another shape", "no rows"],
)
def test_contributions_of_another_shape_are_refused(wrong):
    with pytest.raises(ConfigError, match="contributions"):
        ClippedSum(MODEL, MICROS).add(wrong)


def test_a_clipping_norm_beyond_the_grid_is_refused():
    with pytest.raises(ConfigError, match="exceeds"):
        ClippedSum(MODEL, 128 * MICROS)
    assert ClippedSum(MODEL, 127 * MICROS).count == 0


def test_a_model_of_integers_cannot_be_protected():
    counters = ModelSpec(bytes(32), 1, (Parameter("seen", (2,), "I64", 0),))

    with pytest.raises(ConfigError, match="float"):
        ClippedSum(counters, MICROS)
