"""How many blocks a round cannot do without, read from a ledger."""

import pytest

import tallystick as ts
from tallystick.consensus.solo import Solo
from tallystick.lab.bench.network_rounds import count_steps, round_costs
from tallystick.lab.bench.round import Clock, Idler, zero_model
from tallystick.storage.sqlite import LedgerStore


class Idle(Idler):
    """Scores, too."""

    def evaluate(self, parameters, config):
        return {"accuracy": 0.5}, 10


@pytest.mark.parametrize(("recipe", "steps"), [("chain-fl", 4), ("bflc", 8)])
def test_a_round_takes_no_more_blocks_than_its_design(tmp_path, recipe, steps):
    sites = {name: Idle(Clock()) for name in ("a", "b", "c", "d", "e")}
    task = ts.Task(name="x", recipe=recipe, rounds=2)
    ts.simulate(task, sites, initial=zero_model(8), out=tmp_path, evaluate=False, durable=False)
    costs = round_costs(Solo(LedgerStore(tmp_path / "ledger.db")), "x")

    assert [cost.steps for cost in costs] == [steps, steps]
    assert [cost.full for cost in costs] == [steps, steps]
    assert all(cost.blocks >= cost.full for cost in costs)
    assert all(cost.transactions > steps for cost in costs)
    assert all(cost.seconds > 0 for cost in costs)


def test_what_is_said_together_by_somebody_is_one_step():
    one, two, three = ("a", "Seal"), ("b", "Seal"), ("c", "Open")

    assert count_steps([]) == 0
    assert count_steps([frozenset({one}), frozenset({two}), frozenset({three})]) == 3
    assert count_steps([frozenset({one}), frozenset({two}), frozenset({one, two})]) == 1
    assert count_steps([frozenset(), frozenset({three}), frozenset({three})]) == 1
