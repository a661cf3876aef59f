"""Runs that go on: the same call with the same folder, whatever the trainers draw."""

import numpy as np
import pytest
from support.sites import NAMES, Site

import tallystick as ts


class Drawn(Site):
    """A site whose initial parameters are other ones each time; stops at a training of its own."""

    def __init__(self, stops_at=0, size=4):
        super().__init__()
        self.stops_at, self.size = stops_at, size

    def initial_parameters(self):
        return {"w": np.random.default_rng().standard_normal(self.size).astype(np.float32)}

    def train(self, parameters, config):
        trained = super().train(parameters, config)
        if self.trained == self.stops_at:
            raise KeyboardInterrupt
        return trained


def simulate(out, stops_at=0, size=4, **task):
    asked = ts.Task(name="t", recipe="chain-fl", **{"rounds": 3, **task})
    sites = {name: Drawn(stops_at, size) for name in NAMES}
    return ts.simulate(asked, sites, seed=1, out=out, durable=False)


def test_a_run_goes_on_from_the_parameters_it_began_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "run", stops_at=2)
    run = simulate(tmp_path / "run")

    assert (run.status, run.completed) == ("done", 3)
    assert simulate(tmp_path / "run").model_root == run.model_root


@pytest.mark.parametrize("change", [{"rounds": 2}, {"size": 5}, {"train": {"lr": 0.5}}])
def test_a_run_of_other_terms_is_refused(tmp_path, change):
    simulate(tmp_path / "run")

    with pytest.raises(ts.ConfigError, match="holds another run"):
        simulate(tmp_path / "run", **change)


def test_parameters_that_were_named_are_not_replaced_by_older_ones(tmp_path):
    task = ts.Task(name="t", recipe="chain-fl", rounds=1)
    sites = {name: Site() for name in NAMES}
    for value in (0, 1):
        initial = {"w": np.full(4, value, np.float32)}
        if value:
            with pytest.raises(ts.ConfigError, match="holds another run"):
                ts.simulate(task, sites, initial=initial, out=tmp_path / "run", durable=False)
        else:
            ts.simulate(task, sites, initial=initial, out=tmp_path / "run", durable=False)
