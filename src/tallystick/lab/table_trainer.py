"""A trainer for tables: softmax, logistic or linear regression by plain mini-batch SGD.

It exists so that a demo has something real and quick to train, and a site with a CSV file can join
without writing code. It learns what scikit-learn's multi-layer perceptron without hidden layers
would, to the bit, without that one's checks of every batch, which take nine tenths of the time on
tables this small. All randomness comes from ``config["seed"]`` and nothing is remembered between
calls, so the same call gives the same bits on the same machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallystick.lab.datasets import Table

__all__ = ["DEFAULTS", "TableTrainer", "initial_parameters", "score_name", "train_centralised"]

DEFAULTS: Mapping[str, float] = {"lr": 0.05, "epochs": 2, "batch": 16}
EXTRA = "demo"  # what installs SciPy

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
    parameters in float32. Training on two classes needs SciPy, nothing else does.
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
            Two classes, and SciPy is not installed.
        """
        lr, epochs, batch = (_setting(config, name) for name in ("lr", "epochs", "batch"))
        x, wanted = self.table.x, _targets(self.table)
        activate = _activation(self.table.classes)
        generator = np.random.default_rng(config["seed"])
        weights = parameters["weights"].astype(np.float64)
        bias = parameters["bias"].astype(np.float64)
        # Training that diverges ends in infinities, which the member refuses with their tensor.
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(int(epochs)):
                order = generator.permutation(len(wanted))
                rows, targets = x[order], wanted[order]
                for start in range(0, len(rows), int(batch)):
                    part = rows[start : start + int(batch)]
                    outputs = part @ weights
                    outputs += bias
                    off = activate(outputs) - targets[start : start + int(batch)]
                    weights -= lr * ((part.T @ off) / len(part))
                    bias -= lr * (off.sum(axis=0) / len(part))
                if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
                    break
            trained = {"weights": weights, "bias": bias}
            return {name: array.astype(np.float32) for name, array in trained.items()}, len(wanted)

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
        present = np.bincount(y)
        found = np.bincount(y[right], minlength=len(present))
        recalls = [int(hit) / int(of) for hit, of in zip(found, present, strict=True) if of]
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


def _setting(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name, DEFAULTS[name])
    whole = isinstance(DEFAULTS[name], int)
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < np.inf:
        says = "a whole number" if whole else "a number"
        msg = f"[train] {name} is {value!r}: {says} above 0"
        raise ConfigError(msg)
    return value


def _targets(table: Table) -> np.ndarray:
    """Return what the outputs should be, of shape (rows, outputs)."""
    if table.classes is None or len(table.classes) == 2:
        return table.y[:, np.newaxis].astype(np.float64)
    return np.eye(len(table.classes))[table.y]


def _activation(classes: tuple[str, ...] | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes outputs of a linear model: probabilities, or the quantity itself."""
    if classes is None:
        return lambda outputs: outputs
    if len(classes) > 2:
        return _softmax
    try:
        from scipy.special import expit
    except ImportError as error:
        raise MissingExtraError(EXTRA, "training on two classes") from error
    return expit


def _softmax(outputs: np.ndarray) -> np.ndarray:
    powers = np.exp(outputs - outputs.max(axis=1)[:, np.newaxis])
    powers /= powers.sum(axis=1)[:, np.newaxis]
    return powers


def _r2(predicted: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the variance explained, from 0 to 1; of constant rows none can be."""
    total = float(((y - y.mean()) ** 2).sum())
    if not total:
        return 0.0
    return min(1.0, max(0.0, 1 - float(((predicted - y) ** 2).sum()) / total))
