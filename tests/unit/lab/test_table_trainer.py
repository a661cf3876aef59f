from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score

from tallystick.errors import ConfigError, MissingExtraError
from tallystick.federation.trainer import Trainer, train_once
from tallystick.lab.datasets import Table, load_table, split
from tallystick.lab.partitions import partition
from tallystick.lab.table_trainer import (
    TableTrainer,
    initial_parameters,
    score_name,
    train_centralised,
)

TABLES = ["breast_cancer", "diabetes", "wine"]


def federated_average(sites, parameters, rounds, seed):
    for number in range(rounds):
        updates = [
            TableTrainer(site).train(parameters, {"seed": [seed, number, index]})[0]
            for index, site in enumerate(sites.values())
        ]
        parameters = {
            name: np.mean([update[name] for update in updates], axis=0, dtype=np.float64).astype(
                "f4"
            )
            for name in parameters
        }
    return parameters


def gradient_at_zero(table):
    """Return the loss's gradient over all rows, of weights and of bias, for a model of zeros."""
    outputs = 1 if table.classes is None or len(table.classes) == 2 else len(table.classes)
    wanted = table.y[:, None] if outputs == 1 else np.eye(outputs)[table.y]
    guess = 0 if table.classes is None else 1 / len(table.classes)
    return table.x.T @ (guess - wanted) / len(table), (guess - wanted).mean(axis=0)


@pytest.mark.parametrize("name", TABLES)
def test_one_step_over_all_rows_goes_down_the_gradient(name):
    table, _ = split(load_table(name), 0)
    trained, _ = TableTrainer(table).train(
        initial_parameters(table), {"seed": 0, "lr": 0.1, "epochs": 1, "batch": len(table)}
    )
    weights, bias = gradient_at_zero(table)

    assert np.allclose(trained["weights"], -0.1 * weights, atol=1e-6)
    assert np.allclose(trained["bias"], -0.1 * bias, atol=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_the_mean_of_what_rows_ask_for_is_one_step_over_all_of_them(name):
    table, _ = split(load_table(name), 0)
    settings = {"seed": 0, "lr": 0.01, "epochs": 3, "batch": 16}
    start, _ = TableTrainer(table).train(initial_parameters(table), settings)
    whole = {**settings, "epochs": 1, "batch": len(table)}
    trained, _ = TableTrainer(table).train(start, whole)
    batches = list(TableTrainer(table).contributions(start, whole))

    assert sum(len(each["bias"]) for each in batches) == len(table)
    for key, before in start.items():
        mean = sum(each[key].sum(axis=0) for each in batches) / len(table)
        assert mean == pytest.approx(trained[key] - before, abs=1e-5)


def test_what_a_row_asks_for_depends_on_no_other_row():
    table, _ = split(load_table("wine"), 0)
    start = initial_parameters(table)
    few = replace(table, x=table.x[:5], y=table.y[:5])
    (all_rows,) = TableTrainer(table).contributions(start, {"lr": 0.1})
    (five,) = TableTrainer(few).contributions(start, {"lr": 0.1})

    assert all(np.array_equal(all_rows[name][:5], five[name]) for name in start)


@pytest.mark.parametrize("name", TABLES)
def test_two_calls_of_an_epoch_go_as_far_as_one_of_two(name):
    trainer = TableTrainer(split(load_table(name), 0)[0])
    config = {"seed": 0, "batch": 10_000}
    once, _ = trainer.train(initial_parameters(trainer.table), {**config, "epochs": 1})
    again, _ = trainer.train(once, {**config, "epochs": 1})
    both, _ = trainer.train(initial_parameters(trainer.table), {**config, "epochs": 2})

    assert np.allclose(again["weights"], both["weights"], atol=1e-6)
    assert np.allclose(again["bias"], both["bias"], atol=1e-6)


@pytest.mark.parametrize("labels", [[3, 3, 3, 3], [0, 1, 2, 3], [9, 9, 0, 0]])
def test_a_shard_of_four_rows_learns_about_the_classes_it_lacks(labels):
    table, _ = split(load_table("digits"), 0)
    shard = Table("t", table.x[:4], np.array(labels), table.classes)
    trained, count = TableTrainer(shard).train(initial_parameters(table), {"seed": 0})
    absent = [label for label in range(10) if label not in labels]

    assert count == 4
    assert trained["weights"].shape == (64, 10)
    assert trained["weights"].dtype == trained["bias"].dtype == np.float32
    assert (trained["bias"][absent] < 0).all()
    assert trained["bias"][labels].min() > trained["bias"][absent].max()


@pytest.mark.parametrize("label", [0, 1])
def test_a_shard_of_one_of_two_classes_moves_its_one_output(label):
    table = Table("t", np.eye(4), np.full(4, label), ("no", "yes"))
    trained, _ = TableTrainer(table).train(initial_parameters(table), {"seed": 0})

    assert trained["weights"].shape == (4, 1)
    assert (np.sign(trained["bias"]) == (1 if label else -1)).all()


@pytest.mark.parametrize("name", TABLES)
def test_metrics_are_scikit_learns(name):
    train, test = split(load_table(name), 1)
    trained, _ = TableTrainer(train).train(initial_parameters(train), {"seed": 0, "lr": 0.01})
    metrics, count = TableTrainer(test).evaluate(trained, {})
    outputs = test.x @ trained["weights"] + trained["bias"]

    assert count == len(test)
    if test.classes is None:
        assert metrics == pytest.approx({"r2": r2_score(test.y, outputs)})
    else:
        guess = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0
        assert metrics == pytest.approx(
            {
                "accuracy": accuracy_score(test.y, guess),
                "balanced_accuracy": balanced_accuracy_score(test.y, guess),
            }
        )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_trainer_is_a_trainer_whose_result_is_accepted(name):
    table = load_table(name)
    trainer = TableTrainer(split(table, 0)[0])
    result = train_once(trainer, initial_parameters(table), {"seed": 5, "member": "north"})

    assert isinstance(trainer, Trainer)
    assert result.num_examples == len(trainer.table)
    assert any(array.any() for array in result.parameters.values())


def test_the_seed_decides_every_bit_and_nothing_is_remembered():
    trainer = TableTrainer(split(load_table("wine"), 0)[0])
    start = initial_parameters(trainer.table)
    first, other, again = (trainer.train(start, {"seed": seed})[0] for seed in (1, 2, 1))

    assert first["weights"].tobytes() == again["weights"].tobytes()
    assert first["weights"].tobytes() != other["weights"].tobytes()
    assert not start["weights"].any()


def test_a_call_that_diverged_leaves_no_trace():
    train, _ = split(load_table("diabetes"), 0)
    trainer = TableTrainer(Table("t", train.x * 1e6, train.y, None))
    start = initial_parameters(train)
    before, wild, after = (
        trainer.train(start, {"seed": 0, "batch": len(train), "epochs": epochs})[0]
        for epochs in (1, 99, 1)
    )

    assert np.isfinite(before["weights"]).all()
    assert not np.isfinite(wild["weights"]).all()
    assert before["weights"].tobytes() == after["weights"].tobytes()


def test_training_leaves_numpys_own_dice_alone():
    table = Table("t", np.ones((4, 11)), np.arange(4) % 2, ("a", "b"))
    before = np.random.get_state()  # noqa: NPY002 - what must stay as it is
    TableTrainer(table).train(initial_parameters(table), {"seed": 0, "lr": 0.07})
    after = np.random.get_state()  # noqa: NPY002

    assert before[2:] == after[2:]
    assert (before[1] == after[1]).all()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    table = Table("t", np.ones((4, 13)), np.ones(4), None)  # no other test has 13 columns
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)

    with pytest.raises(MissingExtraError, match="training on a table") as caught:
        TableTrainer(table).train(initial_parameters(table), {"seed": 0, "lr": 0.03})
    assert "tallystick[demo]" in caught.value.hint
    assert TableTrainer(table).evaluate(initial_parameters(table), {}) == ({"r2": 0.0}, 4)


def test_parameters_of_another_table_are_not_taken_for_divergence():
    wine, digits = (load_table(name) for name in ("wine", "digits"))

    with pytest.raises(ValueError, match="mismatch"):
        TableTrainer(wine).train(initial_parameters(digits), {"seed": 0})


@pytest.mark.parametrize(("classes", "outputs"), [(None, 1), ("ab", 1), ("abc", 3)])
def test_the_model_has_as_many_outputs_as_the_target_needs(classes, outputs):
    table = Table("t", np.zeros((4, 5)), np.zeros(4), None if classes is None else tuple(classes))
    parameters = initial_parameters(table)

    assert {name: array.shape for name, array in parameters.items()} == {
        "weights": (5, outputs),
        "bias": (outputs,),
    }
    assert {array.dtype for array in parameters.values()} == {np.dtype(np.float32)}
    assert score_name(table) == ("r2" if classes is None else "accuracy")


@pytest.mark.parametrize(("name", "floor"), [("digits", 0.93), ("breast_cancer", 0.95)])
def test_averaging_over_ten_sites_comes_close_to_one_owner(name, floor):
    train, test = split(load_table(name), 0)
    sites = partition(train, [f"clinic-{index}" for index in range(10)], "iid", 0)
    averaged = federated_average(sites, initial_parameters(train), rounds=30, seed=0)
    metrics, _ = TableTrainer(test).evaluate(averaged, {})
    _, centralised = train_centralised(train, test, 60, {"seed": 0})

    assert metrics["accuracy"] >= floor
    assert centralised["accuracy"] - metrics["accuracy"] <= 0.04


def test_a_model_worse_than_the_mean_scores_nothing():
    table = Table("t", np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 4.0]), None)
    bad = {"weights": np.full((1, 1), 1e3, np.float32), "bias": np.zeros(1, np.float32)}
    flat = Table("t", table.x, np.ones(4), None)

    assert TableTrainer(table).evaluate(bad, {})[0] == {"r2": 0.0}
    assert TableTrainer(flat).evaluate(bad, {})[0] == {"r2": 0.0}


def test_training_that_diverges_ends_without_a_warning():
    table = Table("t", np.full((8, 1), 1e6), np.ones(8), None)
    trained, _ = TableTrainer(table).train(initial_parameters(table), {"seed": 0, "epochs": 99})

    assert not np.isfinite(trained["weights"]).all()


@pytest.mark.parametrize(
    "setting", [{"lr": 0}, {"lr": "fast"}, {"epochs": 1.5}, {"batch": True}, {"lr": float("nan")}]
)
def test_a_setting_that_makes_no_sense_is_named(setting):
    table, _ = split(load_table("wine"), 0)
    (name,) = setting

    with pytest.raises(ConfigError, match=rf"\[train\] {name} is"):
        TableTrainer(table).train(initial_parameters(table), {"seed": 0, **setting})
