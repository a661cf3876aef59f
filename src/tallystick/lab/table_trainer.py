"""A trainer for tables: softmax, logistic or linear regression, learned by scikit-learn.

It exists so that a demo has something real and quick to train, and a site with a CSV file can join
without writing code. The learner is scikit-learn's multi-layer perceptron without hidden layers,
trained by plain mini-batch SGD. All randomness comes from ``config["seed"]`` and nothing is
remembered between calls, so the same call gives the same bits on the same machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from tallystick.lab.datasets import Table

__all__ = [
    "DEFAULTS",
    "TableTrainer",
    "check_settings",
    "initial_parameters",
    "score_name",
    "train_centralised",
    "warm_up",
]

DEFAULTS: Mapping[str, float] = {"lr": 0.05, "epochs": 2, "batch": 16}
BATCH_ROWS = 256
EXTRA = "demo"  # what installs scikit-learn

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class TableTrainer:
    """Train and evaluate a linear model on one table; a `tallystick.federation.trainer.Trainer`.

    Parameters
    ----------
    table
        Own rows. Its ``classes`` fix the model: softmax for three or more, logistic with one
        output for two, least squares for a regression.

    Notes
    -----
    ``config`` holds ``seed`` and may hold ``lr`` (learning rate), ``epochs`` (local epochs) and
    ``batch`` (rows a step); see `DEFAULTS`. No momentum and no penalty. Arithmetic in float64,
    parameters in float32. Training needs scikit-learn, evaluating does not.
    """

    table: Table

    def train(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[Arrays, int]:
        """Return parameters after some epochs from ``parameters``, and the number of rows.

        Raises
        ------
        ConfigError
            A setting that makes no sense.
        MissingExtraError
            scikit-learn is not installed.
        """
        lr, epochs, batch = (_setting(config, name) for name in ("lr", "epochs", "batch"))
        x, y, classes = self.table.x, self.table.y, self.table.classes
        generator = np.random.default_rng(config["seed"])
        model = deepcopy(_learner(x.shape[1], None if classes is None else len(classes), lr))
        model.batch_size = min(int(batch), len(y))
        model.coefs_ = [parameters["weights"].astype(np.float64)]
        model.intercepts_ = [parameters["bias"].astype(np.float64)]
        with _quick_and_quiet():
            for _ in range(int(epochs)):
                # Shuffled here: letting scikit-learn pick each batch's rows costs a third more.
                order = generator.permutation(len(y))
                if not _fit_epoch(model, x[order], y[order]):
                    break
            trained = {"weights": model.coefs_[0], "bias": model.intercepts_[0]}
            return {name: array.astype(np.float32) for name, array in trained.items()}, len(y)

    def contributions(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> Iterator[Arrays]:
        """Yield what each row asks for: one full step against the gradient of its own loss.

        The steps are ``-lr * gradient`` of the log loss, or of half the squared error, float64 of
        shape (rows, columns, outputs) and (rows, outputs), in batches. No dice, no epochs.

        Raises
        ------
        ConfigError
            A setting that makes no sense.
        """
        lr, x, y = _setting(config, "lr"), self.table.x, self.table.y
        outputs = x @ parameters["weights"].astype(np.float64) + parameters["bias"]
        errors = _predicted(outputs, self.table.classes) - _wanted(y, outputs.shape[1])
        for start in range(0, len(y), BATCH_ROWS):
            here = slice(start, start + BATCH_ROWS)
            step = -lr * errors[here]
            yield {"weights": x[here, :, None] * step[:, None, :], "bias": step}

    def evaluate(
        self,
        parameters: Mapping[str, np.ndarray],
        config: Mapping[str, Any],  # noqa: ARG002 - a Trainer's signature
    ) -> tuple[dict[str, float], int]:
        """Return metrics of ``parameters`` on the table, and its number of rows.

        ``accuracy`` and ``balanced_accuracy`` (mean recall of the classes present), or for a
        regression ``r2``, 0 where the model is worse than the rows' own mean.
        """
        outputs = self.table.x @ parameters["weights"].astype(np.float64) + parameters["bias"]
        y = self.table.y
        if self.table.classes is None:
            return {"r2": _r2(outputs[:, 0], y)}, len(y)
        predicted = (
            outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(int)
        )
        right = predicted == y
        recalls = [float(right[y == label].mean()) for label in np.unique(y)]
        return {
            "accuracy": float(right.mean()),
            "balanced_accuracy": sum(recalls) / len(recalls),
        }, len(y)


def initial_parameters(table: Table) -> Arrays:
    """Return zeros: ``weights`` (columns, outputs) and ``bias`` (outputs,), float32."""
    outputs = 1 if table.classes is None or len(table.classes) == 2 else len(table.classes)
    return {
        "weights": np.zeros((table.x.shape[1], outputs), np.float32),
        "bias": np.zeros(outputs, np.float32),
    }


def score_name(table: Table) -> str:
    """Return the metric a task on this table scores by."""
    return "r2" if table.classes is None else "accuracy"


def warm_up() -> None:
    """Import what training needs, so that children of this process find it there.

    Raises
    ------
    MissingExtraError
        scikit-learn is not installed.
    """
    _learner(1, 2, DEFAULTS["lr"])


def train_centralised(
    train: Table, test: Table, epochs: int, config: Mapping[str, Any]
) -> tuple[Arrays, dict[str, float]]:
    """Return what one owner of all rows would have got: parameters, and metrics on ``test``.

    ``epochs`` is the federation's rounds times its local epochs; ``config`` the same otherwise.
    """
    settings = {**config, "epochs": epochs}
    trained, _ = TableTrainer(train).train(initial_parameters(train), settings)
    metrics, _ = TableTrainer(test).evaluate(trained, settings)
    return trained, metrics


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse settings that no round could train with.

    Raises
    ------
    ConfigError
        Names the setting.
    """
    for name in DEFAULTS:
        _setting(config, name)


def _setting(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name, DEFAULTS[name])
    whole = isinstance(DEFAULTS[name], int)
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < np.inf:
        says = "a whole number" if whole else "a number"
        msg = f"[train] {name} is {value!r}: {says} above 0"
        raise ConfigError(msg)
    return value


@lru_cache(maxsize=32)
def _learner(columns: int, classes: int | None, lr: float) -> MLPClassifier | MLPRegressor:
    """Return a linear learner that has met all classes: a template to copy, never to train.

    scikit-learn allocates a learner's parameters on its first rows only, at the cost of an epoch.
    """
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    except ImportError as error:
        raise MissingExtraError(EXTRA, "training on a table") from error
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (),
        "solver": "sgd",
        "learning_rate_init": lr,
        "batch_size": 1,
        "momentum": 0,
        "nesterovs_momentum": False,
        "alpha": 0,
        "shuffle": False,
        # What it draws is replaced. Dice of its own spare NumPy's global ones; these copy quickly.
        "random_state": np.random.RandomState(np.random.PCG64(0)),
    }
    blank = np.zeros((1, columns))  # nothing to diverge on
    with _quick_and_quiet():
        if classes is None:
            return MLPRegressor(**settings).partial_fit(blank, np.zeros(1))
        zero = np.zeros(1, np.int64)
        return MLPClassifier(**settings).partial_fit(blank, zero, classes=np.arange(classes))


@contextmanager
def _quick_and_quiet() -> Generator[None]:
    """Skip scikit-learn's checks of what a table and `_setting` ensure, and expected warnings."""
    from sklearn import config_context

    with (
        config_context(assume_finite=True, skip_parameter_validation=True),
        # Training that diverges ends in infinities, which the member refuses with their tensor.
        np.errstate(over="ignore", invalid="ignore"),
        warnings.catch_warnings(),
    ):
        # A shard of few rows may hold about as many classes.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def _fit_epoch(model: MLPClassifier | MLPRegressor, x: np.ndarray, y: np.ndarray) -> bool:
    """Train ``model`` once over the rows, in their order; tell whether it is still finite."""
    try:
        model.partial_fit(x, y)
    except ValueError:  # also how scikit-learn refuses parameters that have diverged
        if all(np.isfinite(array).all() for array in (*model.coefs_, *model.intercepts_)):
            raise
        return False
    return True


def _predicted(outputs: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    """Return probabilities, or for a regression the outputs themselves."""
    if classes is None:
        return outputs
    if outputs.shape[1] == 1:
        return 1 / (1 + np.exp(-np.clip(outputs, -500, 500)))
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _wanted(y: np.ndarray, outputs: int) -> np.ndarray:
    """Return the targets, shape (rows, outputs): one of several is 1, or the value itself."""
    return np.eye(outputs)[y] if outputs > 1 else y[:, None].astype(np.float64)


def _r2(predicted: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the variance explained, from 0 to 1; of constant rows none can be."""
    total = float(((y - y.mean()) ** 2).sum())
    if not total:
        return 0.0
    return min(1.0, max(0.0, 1 - float(((predicted - y) ** 2).sum()) / total))
