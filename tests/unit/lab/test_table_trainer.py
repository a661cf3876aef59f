from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor

from tallystick.errors import ConfigError
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


@pytest.mark.parametrize("name", TABLES)
def test_one_step_over_all_rows_is_scikit_learns(name):
    table, _ = split(load_table(name), 0)
    kind = MLPRegressor if table.classes is None else MLPClassifier
    peer = kind(
        hidden_layer_sizes=(),
        solver="sgd",
        learning_rate_init=0.1,
        batch_size=len(table),
        momentum=0,
        nesterovs_momentum=False,
        alpha=0,
        shuffle=False,
    )
    options = {} if table.classes is None else {"classes": np.arange(len(table.classes))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.partial_fit(table.x, table.y, **options)
    start = initial_parameters(table)
    peer.coefs_[0][:], peer.intercepts_[0][:] = start["weights"], start["bias"]
    peer.partial_fit(table.x, table.y)
    trained, _ = TableTrainer(table).train(
        start, {"seed": 0, "lr": 0.1, "epochs": 1, "batch": len(table)}
    )

    assert np.allclose(trained["weights"], peer.coefs_[0], atol=1e-6)
    assert np.allclose(trained["bias"], peer.intercepts_[0], atol=1e-6)


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
