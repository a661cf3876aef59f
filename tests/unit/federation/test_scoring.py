"""Scorers: one update made to ruin their evaluation takes nobody's voice."""

import numpy as np
import pytest

import tallystick as ts
from tallystick.federation.conduct import Honest

NAMES = tuple("abcdefgh")
LARGE = 30.0


class Regression:
    """Linear regression whose score, R squared, has no lower bound."""

    def __init__(self, seed, fails=False):
        self.fails = fails
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((50, 4)).astype(np.float32)
        self.y = self.x @ np.array([1, 2, 3, 4], np.float32)

    def train(self, parameters, config):
        weights = parameters["w"]
        for _ in range(5):
            weights = weights - 0.1 * (self.x.T @ (self.x @ weights - self.y) / 50)
        return {"w": weights.astype(np.float32)}, 50

    def evaluate(self, parameters, config):
        if self.fails and np.abs(parameters["w"]).max() > LARGE / 2:
            raise OverflowError("too large for this site")
        rest = self.y - self.x @ parameters["w"]
        return {"r2": float(1 - (rest**2).sum() / ((self.y - self.y.mean()) ** 2).sum())}, 50


class Ruin(Honest):
    """Submits what makes every score meaningless."""

    def poison_update(self, trained, parent, generator):
        return {"w": parent["w"] + np.float32(LARGE)}


@pytest.mark.parametrize("fails", [False, True], ids=["below zero", "raises"])
def test_an_update_made_to_ruin_scores_silences_no_scorer(tmp_path, fails):
    task = ts.Task(name="t", recipe="bflc", rounds=4, score="r2")  # "c" trains in some
    sites = {name: Regression(number, fails) for number, name in enumerate(NAMES)}
    run = ts.simulate(
        task,
        sites,
        initial={"w": np.ones(4, np.float32)},
        seed=1,
        out=tmp_path / "run",
        conduct={"c": Ruin()},
        durable=False,
    )
    log = (tmp_path / "run" / "run.log").read_text(encoding="utf-8")

    assert (run.status, run.completed) == ("done", 4)
    assert "loses its turn" not in log
    assert ("OverflowError: too large for this site" in log) is fails


def test_a_scorer_that_cannot_score_the_model_itself_loses_its_turn(tmp_path):
    class Broken(Regression):
        def evaluate(self, parameters, config):
            return {"r2": -5.0}, 50

    sites = {name: Broken(number) for number, name in enumerate(NAMES)}
    task = ts.Task(name="t", recipe="bflc", rounds=1, score="r2")
    initial = {"w": np.ones(4, np.float32)}
    run = ts.simulate(task, sites, initial=initial, out=tmp_path / "run", durable=False)

    assert run.completed == 0
    assert "a score lies between 0 and 1" in (tmp_path / "run" / "run.log").read_text()
