"""What an attacker may do differently: hooks into a member's own acts, honest unless overridden.

An attack only changes what its member says, or keeps silent about; the ledger treats that member
like any other. Each attack's docstring states what its author knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.lab.datasets import Table
    from tallystick.mechanisms.records import Subject

__all__ = ["WINDOWS", "Arrays", "Attack", "Composite", "Scores", "add_update", "update_of"]

WINDOWS = ("seal", "reveal", "record", "hold", "attest")

Arrays: TypeAlias = dict[str, np.ndarray]
Scores: TypeAlias = "list[int | None]"


@dataclass(frozen=True, slots=True)
class Attack:
    """A member that behaves honestly; attacks override what they do differently.

    Every draw comes from the generator a hook is given, so that a run can be repeated.

    Attributes
    ----------
    name
        What the command line calls it; the file is named likewise.
    default_strength
        The strength without a ``:STRENGTH``; `None` for an attack that takes none.
    """

    name: ClassVar[str] = "honest"
    default_strength: ClassVar[float | None] = None

    strength: float | None = None

    @property
    def label(self) -> str:
        """The attack as the command line writes it."""
        return self.name if self.strength is None else f"{self.name}:{self.strength:g}"

    @property
    def power(self) -> float:
        """The strength asked for, or else the default."""
        return (self.default_strength or 0.0) if self.strength is None else self.strength

    @property
    def copies(self) -> bool:
        """Whether it submits another member's last update instead of its own."""
        return False

    def poison_data(
        self,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...] | None,  # noqa: ARG002 - for attacks to use
        generator: np.random.Generator,  # noqa: ARG002
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows it trains on; ``x`` and ``y`` stay as they are."""
        return x, y

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,  # noqa: ARG002
        generator: np.random.Generator,  # noqa: ARG002
    ) -> Arrays | None:
        """Return the parameters it submits, `None` for none; the inputs stay as they are."""
        return trained

    def poison_scores(
        self,
        vector: Scores,
        subjects: Sequence[Subject],  # noqa: ARG002
        allies: frozenset[str],  # noqa: ARG002
    ) -> Scores:
        """Return the scores it gives, in basis points.

        ``vector`` ends with one score a subject, in the subjects' order; what comes before them is
        the base model's. ``None`` marks a subject it must not score.
        """
        return vector

    def present(self, stage: str, window: str, round_number: int) -> bool:  # noqa: ARG002
        """Whether it acts in one of the `WINDOWS` of a stage; setup is always attended."""
        return True

    def success(self, model: Arrays, table: Table) -> float | None:  # noqa: ARG002
        """Return how far it got what it wanted of ``model``, 0 to 1, on rows nobody trained on.

        `None` for an attack that wants nothing but a bad model, which accuracy shows.
        """
        return None


@dataclass(frozen=True, slots=True)
class Composite(Attack):
    """Several attacks by one member: each alters what the one before it left."""

    attacks: tuple[Attack, ...] = ()

    @property
    def label(self) -> str:
        """See `Attack.label`."""
        return "+".join(attack.label for attack in self.attacks)

    @property
    def copies(self) -> bool:
        """See `Attack.copies`."""
        return any(attack.copies for attack in self.attacks)

    def poison_data(
        self,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...] | None,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Attack.poison_data`."""
        for attack in self.attacks:
            x, y = attack.poison_data(x, y, classes, generator)
        return x, y

    def poison_update(
        self, trained: Arrays, parent: Arrays, generator: np.random.Generator
    ) -> Arrays | None:
        """See `Attack.poison_update`."""
        submitted: Arrays | None = trained
        for attack in self.attacks:
            if submitted is None:
                return None
            submitted = attack.poison_update(submitted, parent, generator)
        return submitted

    def poison_scores(
        self, vector: Scores, subjects: Sequence[Subject], allies: frozenset[str]
    ) -> Scores:
        """See `Attack.poison_scores`."""
        for attack in self.attacks:
            vector = attack.poison_scores(vector, subjects, allies)
        return vector

    def present(self, stage: str, window: str, round_number: int) -> bool:
        """See `Attack.present`."""
        return all(attack.present(stage, window, round_number) for attack in self.attacks)


def update_of(trained: Arrays, parent: Arrays) -> Arrays:
    """Return the difference of two models, in float64."""
    return {name: trained[name].astype(np.float64) - parent[name] for name in parent}


def add_update(parent: Arrays, update: Arrays) -> Arrays:
    """Return ``parent`` moved by ``update``, in its own dtypes; whole numbers are rounded to."""
    moved: Arrays = {}
    for name, array in parent.items():
        exact = array + update[name]
        moved[name] = (np.rint(exact) if array.dtype.kind in "iu" else exact).astype(array.dtype)
    return moved
