"""The accountant: integers that never understate, and the epsilon others compute."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import ConfigError
from tallystick.mechanisms.theory.calibration import (
    conversion_table,
    noise_multiplier_for,
    understates,
)
from tallystick.mechanisms.theory.rdp import (
    ORDERS,
    UNBOUNDED,
    compose,
    epsilon_of,
    gaussian,
    pure,
)

NANOS = 10**9
DELTAS = (10**8, 10**7, 10**6, 10**3)
millis = st.integers(100, 10**6)
vectors = st.lists(st.integers(0, UNBOUNDED), min_size=len(ORDERS), max_size=len(ORDERS)).map(tuple)


def times(count, cost):
    """Return the cost of ``count`` releases, one after the other as the ledger adds them."""
    spent = (0,) * len(ORDERS)
    for _ in range(count):
        spent = compose(spent, cost)
    return spent


@given(millis, st.sampled_from((1, 2)))
def test_a_gaussian_cost_is_the_formula_rounded_up(noise, sensitivity):
    for tenths, cost in zip(ORDERS, gaussian(noise, sensitivity), strict=True):
        exact = tenths * sensitivity**2 * 10**6 * NANOS, 20 * noise**2

        assert cost * exact[1] >= exact[0] > (cost - 1) * exact[1]


@given(st.integers(1, 10**12))
def test_a_pure_cost_is_within_both_of_its_bounds(epsilon):
    for tenths, cost in zip(ORDERS, pure(epsilon), strict=True):
        quadratic = tenths * epsilon**2

        assert cost <= epsilon
        assert cost == epsilon or cost * 20 * NANOS >= quadratic > (cost - 1) * 20 * NANOS


@given(vectors, vectors, vectors)
def test_composition_is_blind_to_order_and_never_shrinks(a, b, c):
    assert compose(a, b) == compose(b, a)
    assert compose(compose(a, b), c) == compose(a, compose(b, c))
    assert all(x <= y for x, y in zip(a, compose(a, b), strict=True))


def test_what_leaves_63_bits_is_unbounded_and_stays_so():
    huge = gaussian(1, 2)
    spent = times(10, tuple(each * 10 for each in huge))

    assert spent[-1] == UNBOUNDED
    assert compose(spent, (1,) * len(ORDERS))[-1] == UNBOUNDED
    assert epsilon_of((UNBOUNDED,) * len(ORDERS), conversion_table(DELTAS[0])) == UNBOUNDED


@pytest.mark.parametrize("delta", DELTAS)
@given(noise=st.integers(500, 200_000), releases=st.integers(1, 300))
def test_epsilon_is_what_the_formula_gives_in_floats(delta, noise, releases):
    spent = times(releases, gaussian(noise, 1))
    wanted = min(
        releases * order / (2 * (noise / 1000) ** 2)
        + math.log1p(-1 / order)
        - math.log(delta / 10**12 * order) / (order - 1)
        for order in (tenths / 10 for tenths in ORDERS)
    )

    got = epsilon_of(spent, conversion_table(delta)) / NANOS
    assert 0 <= got - max(0.0, wanted) < 1e-8 * (releases + 10)


@given(st.integers(1, 10**12 - 1))
def test_a_smaller_delta_is_never_cheaper(delta):
    tighter = conversion_table(max(1, delta // 2))

    assert all(a >= b for a, b in zip(tighter, conversion_table(delta), strict=True))


@pytest.mark.parametrize("delta", [0, -1, 10**12])
def test_what_is_no_delta_has_no_table(delta):
    with pytest.raises(ConfigError, match="delta"):
        conversion_table(delta)


@pytest.mark.parametrize("sensitivity", [1, 2])
@pytest.mark.parametrize(("epsilon", "releases"), [(8, 60), (1, 60), (0.1, 1000), (20, 1)])
def test_the_noise_that_is_picked_is_the_least_that_lasts(epsilon, releases, sensitivity):
    limit, delta = int(epsilon * NANOS), DELTAS[0]
    noise = noise_multiplier_for(limit, delta, releases, sensitivity)
    table = conversion_table(delta)

    assert epsilon_of(times(releases, gaussian(noise, sensitivity)), table) <= limit
    assert epsilon_of(times(releases, gaussian(noise - 1, sensitivity)), table) > limit
    assert epsilon_of(times(releases + 1, gaussian(noise, sensitivity)), table) > limit


def test_an_epsilon_out_of_reach_is_refused_with_advice():
    with pytest.raises(ConfigError, match="out of reach"):
        noise_multiplier_for(1, 1, 10**6, 1)


def test_a_table_that_understates_is_noticed():
    table = conversion_table(DELTAS[0])

    assert not understates(table, DELTAS[0])
    assert not understates(tuple(each + 5 for each in table), DELTAS[0])
    assert understates((*table[:-1], table[-1] - 2), DELTAS[0])
    assert understates(table[:-1], DELTAS[0])
    assert understates(conversion_table(DELTAS[0] * 2), DELTAS[0])


@pytest.mark.parametrize("sensitivity", [1, 2])
@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize(("noise", "releases"), [(4_507, 60), (27_191, 60), (1_000, 1), (700, 9)])
def test_epsilon_agrees_with_dp_accounting(noise, releases, delta, sensitivity):
    """At the same orders to within rounding, and never below; at its finer ones within 1 %."""
    dp_accounting = pytest.importorskip("dp_accounting", reason="the extra 'dp' is not installed")
    rdp = pytest.importorskip("dp_accounting.rdp")
    relation = dp_accounting.NeighboringRelation
    event = dp_accounting.GaussianDpEvent(noise / 1000 / sensitivity)

    def theirs(orders):
        accountant = rdp.RdpAccountant(orders, relation.ADD_OR_REMOVE_ONE)
        return accountant.compose(event, releases).get_epsilon(delta / 10**12)

    ours = (
        epsilon_of(times(releases, gaussian(noise, sensitivity)), conversion_table(delta)) / NANOS
    )

    assert 0 <= ours - theirs([tenths / 10 for tenths in ORDERS]) < 1e-8 * (releases + 10)
    assert theirs(None) <= ours * (1 + 1e-9) < theirs(None) * 1.01
