"""Mimic: one honest member, many times over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import add_update, arrays_of, disguise, rows_of

if TYPE_CHECKING:
    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Mimic", "most_typical_of_spread"]


@dataclass(frozen=True, slots=True)
class Mimic(Attack):
    """Submit what one honest member submitted in the last completed round, disguised a little.

    All colluders choose the same: the one that reaches furthest along the direction in which the
    honest updates vary most. Nothing about the copies is false, and yet an average, or a rule that
    trusts the crowd, hears one member many times. Where the rows are dealt alike it does little.

    Choosing by one round's updates, and the thousandth by which copies differ (bytes that were
    sent before would be refused as duplicates), are our definitions.

    Its author knows the updates revealed last round; beside ``omniscient``, this round's. Before
    anything is revealed it works honestly.

    References
    ----------
    Karimireddy, He, Jaggi, ICLR 2022. arXiv:2006.09365.
    """

    name: ClassVar[str] = "mimic"

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        revealed = knowledge.revealed()
        rows = rows_of(revealed[name] for name in sorted(revealed.keys() - knowledge.allied))
        if not len(rows):
            return trained
        chosen = rows[most_typical_of_spread(rows)]
        return add_update(parent, arrays_of(disguise(chosen, generator), parent))


def most_typical_of_spread(rows: np.ndarray) -> int:
    """Return which row lies furthest out along the rows' first principal direction."""
    centred = rows - rows.mean(axis=0)
    # The products' first eigenvector is the rows' coordinates along that direction, scaled.
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return int(np.abs(vectors[:, -1]).argmax())
