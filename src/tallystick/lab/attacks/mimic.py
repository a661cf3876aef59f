"""Mimic: one honest member, many times over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import disguised, rows_of

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Mimic"]


@dataclass(frozen=True, slots=True)
class Mimic(Attack):
    """Submit what one honest member submitted in the last completed round, disguised a little.

    All colluders copy the same member in every round, the first honest one by name. Nothing about
    the copies is false, and yet an average, or a rule that trusts the crowd, hears one member many
    times. Where rows are dealt alike it does little. Copying always the same one is what harms:
    choosing anew each round the one furthest out cost `standard` nothing in our trials. Whom to
    copy, and the thousandth by which copies differ (bytes that were sent before would be refused
    as duplicates), are our definitions.

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
        honest = sorted(revealed.keys() - knowledge.allied)
        if not honest:
            return trained
        (row,) = rows_of([revealed[honest[0]]])
        return disguised(parent, row, generator)
