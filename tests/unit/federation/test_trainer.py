from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tallystick.errors import ConfigError
from tallystick.federation.arrays import as_arrays
from tallystick.federation.run import simulate
from tallystick.federation.task_file import Task
from tallystick.federation.trainer import (
    Trainer,
    TrainerError,
    as_trainer,
    evaluate_once,
    read_only,
    score_bps,
    score_update,
    train_once,
)

PARENT = {"b": np.zeros((), np.float32), "w": np.arange(6, dtype=np.float32).reshape(2, 3)}
CONFIG = {"lr": 0.5, "seed": 7, "layers": [1, {"size": 2}]}
PLACES = pytest.mark.parametrize("isolate", [False, True], ids=["inline", "child"])


class Steady:
    """Moves every parameter by the learning rate."""

    def train(self, parameters, config):
        for name in parameters:
            parameters[name] += np.float32(config["lr"])
        return parameters, 12, {"loss": 0.25, "note": "mine", "worst": float("inf")}

    def evaluate(self, parameters, config):
        return {"accuracy": 0.875, "seed": config["seed"]}, 12


class Returning:
    """Returns what it was made with, as its training's result."""

    def __init__(self, result):
        self.result = result

    def train(self, parameters, config):
        return self.result(parameters) if callable(self.result) else self.result

    def evaluate(self, parameters, config):
        return self.train(parameters, config)


class ListClient:
    """A client in the shape of Flower's, which it does not need."""

    def get_parameters(self, config):
        return [np.ones(2, np.float32), np.zeros(3, np.float32)]

    def fit(self, parameters, config):
        return [array + 1 for array in parameters], 3, {"lr": config["lr"]}

    def evaluate(self, parameters, config):
        return 0.5, 3, {"accuracy": float(parameters[0][0])}


def model_with(**changes):
    return {**PARENT, **changes}


@PLACES
def test_a_result_is_what_the_trainer_made_of_the_parameters(isolate):
    before = {name: array.copy() for name, array in PARENT.items()}
    result = train_once(Steady(), PARENT, CONFIG, isolate=isolate, limit_seconds=60)

    assert result.num_examples == 12
    assert result.metrics == {"loss": 0.25}
    assert list(result.parameters) == ["b", "w"]
    for name, array in result.parameters.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, before[name] + np.float32(0.5))
        assert np.array_equal(PARENT[name], before[name])


def test_metrics_may_be_left_out_and_arrays_laid_out_otherwise():
    trained = {"w": np.asfortranarray(PARENT["w"]).astype(">f4"), "b": PARENT["b"]}
    result = train_once(Returning((trained, np.int64(3))), PARENT, CONFIG)

    assert result.metrics == {}
    assert result.num_examples == 3
    assert result.parameters["w"].flags.c_contiguous
    assert result.parameters["w"].dtype.isnative
    assert np.array_equal(result.parameters["w"], PARENT["w"])
    assert result.parameters["b"].shape == ()


REFUSED = {
    "missing": ({"w": PARENT["w"]}, "b", "missing"),
    "unknown": (model_with(extra=np.zeros(1)), "extra", "not in the model"),
    "shape": (model_with(w=np.zeros((3, 2), np.float32)), "w", r"shape \(3, 2\)"),
    "dtype": (model_with(w=PARENT["w"].astype(np.float64)), "w", "dtype float64"),
    "nan": (model_with(w=np.array([[0, 1, 2], [3, np.nan, 5]], np.float32)), "w", "element 4"),
    "infinity": (model_with(b=np.float32(np.inf)), "b", "holds inf"),
}


@PLACES
@pytest.mark.parametrize("case", REFUSED)
def test_a_tensor_that_does_not_fit_is_named_with_its_cause(case, isolate):
    trained, tensor, cause = REFUSED[case]

    with pytest.raises(TrainerError, match=cause) as caught:
        train_once(Returning((trained, 1)), PARENT, CONFIG, isolate=isolate)
    assert caught.value.tensor == tensor


@pytest.mark.parametrize(
    ("returned", "cause"),
    [
        (None, "not .parameters, num_examples"),
        (PARENT, "not .parameters, num_examples"),
        ((PARENT,), "not .parameters, num_examples"),
        ((PARENT, 1, {}, 2), "not .parameters, num_examples"),
        ((PARENT, -1), "num_examples is -1"),
        ((PARENT, True), "num_examples is True"),
        ((PARENT, 1.0), "num_examples is 1.0"),
        ((PARENT, 1, 3), "metrics are of type int"),
        ((7, 1), "parameters are of type int"),
        ((model_with(w=[1, 2]), 1), "'w' is of type list"),
        ((model_with(w=np.array(["a"])), 1), "'w' has dtype"),
        ((model_with(w=np.array([None])), 1), "'w' has dtype object"),
    ],
)
def test_a_result_of_another_form_is_refused(returned, cause):
    with pytest.raises(TrainerError, match=cause):
        train_once(Returning(returned), PARENT, CONFIG)


@PLACES
def test_a_trainer_that_raises_leaves_its_traceback(isolate):
    def fail(parameters):
        raise KeyError("the data are gone")

    with pytest.raises(TrainerError, match=r"train\(\) raised KeyError") as caught:
        train_once(Returning(fail), PARENT, CONFIG, isolate=isolate)
    assert "in fail" in caught.value.traceback
    assert "the data are gone" in caught.value.traceback


@PLACES
def test_a_trainer_that_ends_the_program_ends_only_its_turn(isolate):
    with pytest.raises(TrainerError, match="SystemExit"):
        train_once(Returning(lambda parameters: sys.exit(3)), PARENT, CONFIG, isolate=isolate)


def test_a_trainer_that_hangs_is_killed_by_its_process_id(tmp_path):
    def hang(parameters):
        (tmp_path / "pid").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)

    with pytest.raises(TrainerError, match="did not end within 1 seconds"):
        train_once(Returning(hang), PARENT, CONFIG, isolate=True, limit_seconds=1)
    child = int((tmp_path / "pid").read_text())
    assert child != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (lambda parameters: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL, perhaps out of memory"),
        (lambda parameters: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM"),
        (lambda parameters: os._exit(5), "exit status 5"),
    ],
)
def test_a_training_process_that_dies_is_reported(end, cause):
    with pytest.raises(TrainerError, match=cause):
        train_once(Returning(end), PARENT, CONFIG, isolate=True)


def test_what_a_child_prints_does_not_reach_standard_output():
    program = """
from tallystick.federation.trainer import train_once
class Loud:
    def train(self, parameters, config):
        print("loud", flush=True)
        return parameters, 1
train_once(Loud(), {}, {}, isolate=True)
print("done")
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=env
    )

    assert ran.stdout == "done\n"
    assert ran.stderr == "loud\n"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_a_training_process_leaves_when_its_parent_is_killed(tmp_path):
    program = f"""
import os, pathlib, signal, time
from tallystick.federation.trainer import train_once
class Slow:
    def train(self, parameters, config):
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
train_once(Slow(), {{}}, {{}}, isolate=True)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", program], check=False, env=env)
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert ran.returncode == -signal.SIGKILL
    assert not is_running(child)


def is_running(number):
    """Whether the process is neither gone nor a zombie that nobody has collected."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_child_returns_every_dtype_a_model_may_hold():
    pytest.importorskip("ml_dtypes")
    names = ["bfloat16", "float16", "float32", "float64", "int8", "int16", "int32", "int64"]
    names += ["uint8", "uint16", "uint32"]
    model = {name: np.arange(5).astype(name) for name in names}
    result = train_once(Returning((model, 1)), model, CONFIG, isolate=True)

    assert {name: array.dtype.name for name, array in result.parameters.items()} == {
        name: name for name in names
    }
    assert all(result.parameters[name].tobytes() == model[name].tobytes() for name in names)


def test_a_bfloat16_nan_is_found():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    parent = {"w": np.ones(4, ml_dtypes.bfloat16)}
    trained = {"w": np.array([1, 2, np.nan, 4], ml_dtypes.bfloat16)}

    with pytest.raises(TrainerError, match="holds nan at element 2"):
        train_once(Returning((trained, 1)), parent, CONFIG)


def test_the_configuration_cannot_be_changed_anywhere():
    config = read_only(CONFIG)

    with pytest.raises(TypeError):
        config["lr"] = 1
    with pytest.raises(TypeError):
        config["layers"][1]["size"] = 3
    assert config["layers"] == (1, {"size": 2})


def test_an_evaluation_returns_finite_numbers():
    class Judge(Steady):
        def evaluate(self, parameters, config):
            parameters["w"][:] = 9
            return {"accuracy": np.float32(0.5), "loss": float("nan")}, 4

    assert evaluate_once(Judge(), PARENT, CONFIG) == ({"accuracy": 0.5}, 4)
    assert PARENT["w"][0, 0] == 0


@pytest.mark.parametrize("returned", [None, (0.5, 1, {}), ([0.5], 1), ({}, None)])
def test_an_evaluation_of_another_form_is_refused(returned):
    with pytest.raises(TrainerError):
        evaluate_once(Returning(returned), PARENT, CONFIG)


def test_an_evaluation_that_raises_leaves_its_traceback():
    def fail(parameters):
        raise ZeroDivisionError

    with pytest.raises(TrainerError, match=r"evaluate\(\) raised ZeroDivisionError") as caught:
        evaluate_once(Returning(fail), PARENT, CONFIG)
    assert "in fail" in caught.value.traceback


def test_a_score_is_whole_basis_points():
    assert score_bps({"accuracy": 2 / 3}, "accuracy") == 6667
    assert score_bps({"accuracy": 1.0}, "accuracy") == 10_000


@pytest.mark.parametrize(
    ("metrics", "cause"),
    [({"loss": 1.0}, "no metric 'accuracy'"), ({"accuracy": 1.2}, "is 1.2"), ({}, "no metric")],
)
def test_a_score_that_is_none_is_refused(metrics, cause):
    with pytest.raises(TrainerError, match=cause):
        score_bps(metrics, "accuracy")


def test_a_score_is_within_its_range_if_rounding_puts_it_there():
    assert score_bps({"accuracy": 1.00001}, "accuracy") == 10_000
    assert score_bps({"accuracy": -0.00001}, "accuracy") == 0
    for value in (1.0002, -0.0002, 1e308, -1e308):
        with pytest.raises(TrainerError, match="between 0 and 1"):
            score_bps({"accuracy": value}, "accuracy")


@pytest.mark.parametrize(
    ("value", "score"),
    [(0.5, 5000), (-7.0, 0), (float("nan"), 0), (float("inf"), 0), (np.float32("-inf"), 0)],
)
def test_an_update_that_ruins_the_model_scores_nothing(value, score):
    assert score_update(Returning(({"r2": value}, 1)), PARENT, CONFIG, "r2") == score


@pytest.mark.parametrize("metrics", [{}, {"r2": "good"}, {"r2": 1.5}, 7])
def test_what_is_no_score_of_an_update_is_refused(metrics):
    with pytest.raises(TrainerError):
        score_update(Returning((metrics, 1)), PARENT, CONFIG, "r2")


def test_two_methods_make_a_trainer():
    trainer = Steady()

    assert isinstance(trainer, Trainer)
    assert as_trainer(trainer) is trainer


@pytest.mark.parametrize(
    "wrong", [{"rounds": "x"}, {"rounds": True}, {"name": 3}, {"train": [1]}, {"weight_cap": 1.5}]
)
def test_a_task_of_the_wrong_kinds_is_refused_by_the_key(wrong):
    with pytest.raises(ConfigError, match=f"key '{next(iter(wrong))}'"):
        Task(**{"name": "x", **wrong})


def test_a_simulation_of_no_task_is_refused():
    with pytest.raises(ConfigError, match="not 3"):
        simulate(3, {})


@pytest.mark.parametrize(
    ("thing", "cause"),
    [(Steady, "is a class"), (object(), "lacks train"), (7, "int is no trainer")],
)
def test_what_is_no_trainer_is_refused(thing, cause):
    with pytest.raises(ConfigError, match=cause):
        as_trainer(thing)


@PLACES
def test_a_client_of_lists_trains_under_names(isolate):
    trainer = as_trainer(ListClient())
    parent = trainer.initial_parameters()
    result = train_once(trainer, parent, CONFIG, isolate=isolate)

    assert sorted(parent) == ["p000", "p001"]
    assert result.metrics == {"lr": 0.5}
    assert result.parameters["p000"].tolist() == [2, 2]
    assert result.parameters["p001"].tolist() == [1, 1, 1]
    assert evaluate_once(trainer, parent, CONFIG) == ({"loss": 0.5, "accuracy": 1.0}, 3)


def test_names_keep_the_order_of_a_clients_lists():
    trainer = as_trainer(ListClient(), names=["weight", "bias"])
    result = train_once(trainer, trainer.initial_parameters(), CONFIG)

    assert {name: len(array) for name, array in result.parameters.items()} == {
        "weight": 2,
        "bias": 3,
    }


def test_a_client_without_names_cannot_train_a_model_with_names():
    with pytest.raises(TrainerError, match="lists have none"):
        train_once(as_trainer(ListClient()), PARENT, CONFIG)


def test_a_client_must_fit_a_list_of_the_right_length():
    class Short(ListClient):
        def fit(self, parameters, config):
            return parameters[:1], 1, {}

    class Tuples(ListClient):
        def fit(self, parameters, config):
            return tuple(parameters), 1, {}

    parent = as_trainer(Short()).initial_parameters()

    with pytest.raises(TrainerError, match="1 arrays, the model has 2"):
        train_once(as_trainer(Short()), parent, CONFIG)
    with pytest.raises(TrainerError, match="not a list"):
        train_once(as_trainer(Tuples()), parent, CONFIG)


def test_a_list_of_arrays_keeps_its_order_when_sorted_by_name():
    arrays = as_arrays([np.full(1, index) for index in range(1001)])

    assert list(arrays) == sorted(arrays)
    assert [int(array[0]) for _, array in sorted(arrays.items())] == list(range(1001))


def test_arrays_already_in_order_are_not_copied():
    assert np.shares_memory(as_arrays(PARENT)["w"], PARENT["w"])


@pytest.mark.parametrize(
    ("parameters", "cause"),
    [({1: np.zeros(1)}, "name is 1"), ({"": np.zeros(1)}, "name is ''"), ("text", "type str")],
)
def test_what_is_no_state_dictionary_is_refused(parameters, cause):
    with pytest.raises(ConfigError, match=cause):
        as_arrays(parameters)


def test_a_pytorch_state_dictionary_becomes_arrays():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    half = {name: tensor.to(torch.bfloat16) for name, tensor in layer.state_dict().items()}

    assert as_arrays(layer.state_dict())["weight"].dtype == np.float32
    assert as_arrays(half)["weight"].dtype.name == "bfloat16"
    assert np.array_equal(
        as_arrays(half)["weight"].astype(np.float32), half["weight"].float().numpy()
    )
