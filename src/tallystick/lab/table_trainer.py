"""A trainer for tables: softmax, logistic or linear regression by plain mini-batch SGD.

It exists so that a demo has something real and quick to train, and a site with a CSV file can join
without writing code. All randomness comes from ``config["seed"]`` and nothing is remembered between
calls, so the same call gives the same bits on the same machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from tallystick.lab.datasets import Table

__all__ = ["DEFAULTS", "TableTrainer", "initial_parameters", "score_name", "train_centralised"]

DEFAULTS: Mapping[str, float] = {"lr": 0.05, "epochs": 2, "batch": 16}
LARGEST_LOGIT = 500.0  # beyond it exp() of a float64 leaves its range

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
    parameters in float32.
    """

    table: Table

    def train(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[Arrays, int]:
        """Return parameters after some epochs from ``parameters``, and the number of rows."""
        lr, epochs, batch = (_setting(config, name) for name in ("lr", "epochs", "batch"))
        weights = parameters["weights"].astype(np.float64)
        bias = parameters["bias"].astype(np.float64)
        wanted = _wanted(self.table)
        generator = np.random.default_rng(config["seed"])
        # Training that diverges ends in infinities, which the member refuses with their tensor.
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(int(epochs)):
                order = generator.permutation(len(self.table))
                for start in range(0, len(order), int(batch)):
                    index = order[start : start + int(batch)]
                    x = self.table.x[index]
                    error = _predict(self.table, x @ weights + bias) - wanted[index]
                    weights -= lr / len(index) * (x.T @ error)
                    bias -= lr / len(index) * error.sum(axis=0)
            trained = {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
        return trained, len(self.table)

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


def _wanted(table: Table) -> np.ndarray:
    """Return the outputs the rows ask for, shape (rows, outputs)."""
    if table.classes is None or len(table.classes) == 2:
        return table.y[:, None].astype(np.float64)
    return np.eye(len(table.classes))[table.y]


def _predict(table: Table, logits: np.ndarray) -> np.ndarray:
    """Return the model's outputs: probabilities, or quantities for a regression."""
    if table.classes is None:
        return logits
    if logits.shape[1] == 1:
        return 1 / (1 + np.exp(-np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _r2(predicted: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the variance explained, from 0 to 1; of constant rows none can be."""
    total = float(((y - y.mean()) ** 2).sum())
    if not total:
        return 0.0
    return min(1.0, max(0.0, 1 - float(((predicted - y) ** 2).sum()) / total))
