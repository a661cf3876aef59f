"""A trainer for one site's own CSV file, so that joining a task takes no code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError
from tallystick.lab.datasets import Table, load_table, split
from tallystick.lab.table_trainer import TableTrainer, initial_parameters, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["CsvTrainer"]

SEED = 0  # which rows are held out; the same ones each time


class CsvTrainer:
    """Train on three quarters of a CSV file's rows, evaluate on the rest.

    Features are standardised by the site's own training rows. The model is the one of
    `tallystick.lab.table_trainer.TableTrainer`.

    Parameters
    ----------
    data, target
        The file, and its column to predict.
    classes
        Every label the federation knows, separated by commas, for a site that lacks some; by
        default those in the file.

    Raises
    ------
    ConfigError
        The file cannot be used; names file, line and column.
    MissingExtraError
        scikit-learn is not installed.
    """

    def __init__(self, data: str | Path, target: str, classes: str = "") -> None:
        """Read the file."""
        table = load_table(data, target)
        if classes:
            table = _with_classes(table, tuple(name.strip() for name in classes.split(",")))
        warm_up()
        train, test = split(table, SEED)
        self._train, self._test = TableTrainer(train), TableTrainer(test)

    def initial_parameters(self) -> dict[str, np.ndarray]:
        """Return zeros."""
        return initial_parameters(self._train.table)

    def train(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], int]:
        """See `TableTrainer.train`."""
        return self._train.train(parameters, config)

    def contributions(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `TableTrainer.contributions`."""
        return self._train.contributions(parameters, config)

    def evaluate(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[dict[str, float], int]:
        """See `TableTrainer.evaluate`; on the rows that are held out."""
        return self._test.evaluate(parameters, config)


def _with_classes(table: Table, classes: tuple[str, ...]) -> Table:
    """Return a table whose labels are numbered among all classes."""
    known = table.classes
    if known is None or len(set(classes)) != len(classes):
        msg = f"classes = '{','.join(classes)}': names of classes, each once, of a classification"
        raise ConfigError(msg)
    strange = sorted(set(known) - set(classes))
    if strange:
        msg = f"'{table.name}' has the class '{strange[0]}', which classes does not name"
        raise ConfigError(msg)
    listed = sorted(classes)
    places = np.array([listed.index(name) for name in known])
    return replace(table, y=places[table.y], classes=tuple(listed))
