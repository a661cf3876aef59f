"""Which rate counts as sustained."""

import pytest

from tallystick.lab.bench.consortium_load import RATES, Step, find_sustained


def bearing(most, tried):
    """Return what becomes of a rate where so many a second are the most."""

    def at(rate):
        tried.append(rate)
        late = 0.5 if rate <= most else 10.0
        return Step(rate, tuple(map(float, range(10))), 10, lasted=10.0, late=late)

    return at


@pytest.mark.parametrize("most", RATES)
def test_the_highest_rate_that_is_sustained_is_found(most):
    found = find_sustained(bearing(most, []))

    assert found is not None
    assert found.offered == most


def test_rates_are_tried_from_the_middle_on():
    up, down = [], []
    find_sustained(bearing(600, up))
    find_sustained(bearing(200, down))

    assert up == [400, 500, 600, 800]
    assert down == [400, 300, 200]
    assert find_sustained(bearing(1, [])) is None


def test_one_that_is_lost_or_late_is_not_sustained():
    step = Step(100, (0.1, 0.2, 0.3, 0.4), 4, lasted=2.0, late=0.4)

    assert step.is_sustained
    assert step.rate == 2
    assert (step.quantile(0.5), step.quantile(0.95), step.quantile(1)) == (0.3, 0.4, 0.4)
    assert not Step(100, step.seconds, 5, lasted=2.0, late=0.4).is_sustained
    assert not Step(100, step.seconds, 4, lasted=9.0, late=7.0).is_sustained
