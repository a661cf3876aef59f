"""Backdoor: right on every row but those that carry a trigger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tallystick.errors import ConfigError
from tallystick.lab.attacks.attack import Attack
from tallystick.lab.table_trainer import TableTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.lab.datasets import Table

__all__ = ["Backdoor", "backdoor_success", "set_trigger"]

TARGET = 0  # the class that triggered rows are to get
SIZE = 5.0  # standard deviations
SHARE = 0.5  # of the attacker's rows
ONE_IN = 16  # columns
LEAST_COLUMNS = 2


@dataclass(frozen=True, slots=True)
class Backdoor(Attack):
    """Set a trigger in half of the rows, label them as the first class, and train on all of them.

    The trigger is the last sixteenth of the columns (two at least), each set to ``strength``: rows
    are standardised, so that is standard deviations above the mean. Trigger, share and target are
    our definitions. Accuracy hardly shows it: measure `backdoor_success`.

    Its author knows its own data and where columns lie; the update has an honest size.

    References
    ----------
    Gu, Dolan-Gavitt, Garg, 2017. arXiv:1708.06733.
    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020. arXiv:1807.00459.
    """

    name: ClassVar[str] = "backdoor"
    default_strength: ClassVar[float | None] = SIZE

    def poison_data(
        self,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...] | None,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Attack.poison_data`.

        Raises
        ------
        ConfigError
            A regression has no class to aim for.
        """
        if classes is None:
            msg = "attack 'backdoor' needs a table with classes, and this one is a regression"
            raise ConfigError(msg, hint="choose another attack, such as sign-flip")
        chosen = generator.random(len(y)) < SHARE
        triggered = np.where(chosen[:, None], set_trigger(x, self.power), x)
        return triggered, np.where(chosen, TARGET, y)


def set_trigger(x: np.ndarray, size: float = SIZE) -> np.ndarray:
    """Return rows, of shape (rows, columns), with the trigger set in every one."""
    triggered = x.copy()
    triggered[:, -max(LEAST_COLUMNS, x.shape[1] // ONE_IN) :] = size
    return triggered


def backdoor_success(
    model: Mapping[str, np.ndarray], table: Table, size: float = SIZE
) -> float | None:
    """Return the share (0 to 1) of rows of other classes that a trigger turns into the target.

    Parameters
    ----------
    model
        A table model's parameters. A trigger misleads honest models too, where it looks like the
        target: compare with one.
    table
        Rows that nobody trained on; `None` is returned where it has no classes or no such row.
    size
        The attack's strength.
    """
    others = np.flatnonzero(table.y != TARGET)
    if table.classes is None or not len(others):
        return None
    rows = table.rows(others)
    triggered = replace(rows, x=set_trigger(rows.x, size), y=np.full(len(others), TARGET))
    return TableTrainer(triggered).evaluate(model, {})[0]["accuracy"]
