"""The best block rate: formula, races and the engine's own network agree."""

import math

import numpy as np
import pytest

from tallystick.lab.block_rate import FACTORS, Latency, contested_share, draw_sweep
from tallystick.lab.demos.acceptance_fl_block import rate_checks

SETTINGS = [Latency(), Latency(4, 0.2, 0.1), Latency(25, 3.0, 1.5), Latency(2, 0.0, 1.0)]


@pytest.mark.parametrize("latency", SETTINGS, ids=str)
def test_no_rate_is_better_than_the_best_one(latency):
    best = latency.best_rate
    others = np.geomspace(best / 20, best * 20, 4001)
    least = others[np.argmin([latency.seconds(rate) for rate in others])]

    assert math.isclose(least, best, rel_tol=2e-3)
    assert all(latency.seconds(rate) >= latency.seconds(best) - 1e-12 for rate in others)


@pytest.mark.parametrize("latency", SETTINGS, ids=str)
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_races_take_as_long_as_the_formula_says(latency, factor):
    rate = factor * latency.best_rate

    assert math.isclose(latency.simulate(rate, 3), latency.seconds(rate), rel_tol=0.02)


def test_a_rate_far_off_is_much_slower():
    latency = Latency()
    best = latency.simulate(latency.best_rate, 1)

    assert latency.simulate(FACTORS[0] * latency.best_rate, 1) > 1.5 * best
    assert latency.simulate(FACTORS[-1] * latency.best_rate, 1) > 1.5 * best


def test_the_engines_network_is_contested_as_often_as_the_formula_says():
    latency = Latency(5, 1.0, 0.5)
    rate = latency.best_rate

    assert abs(contested_share(latency, rate, 2) - latency.contested(rate)) < 0.08


def test_the_checks_of_a_wrong_formula_fail(monkeypatch):
    monkeypatch.setattr(Latency, "best_rate", property(lambda self: 0.3))
    failed = {check.id for check in rate_checks(Latency(), 0) if not check.ok}

    assert failed >= {"rate-is-best", "rate-quarter-is-slower"}


def test_a_plot_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw_sweep(tmp_path / "rate.png", Latency(), 0, rounds=200)

    assert (tmp_path / "rate.png").read_bytes().startswith(b"\x89PNG")
