"""How a member behaves: honestly, unless a simulation says otherwise.

Attacks change only what their member says or keeps silent about; ledger and other members treat it
like anybody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tallystick.mechanisms.records import Subject

__all__ = ["HONEST", "Conduct", "Honest"]


class Conduct(Protocol):
    """The points at which a member may deviate."""

    @property
    def copies(self) -> bool:
        """Whether it submits another member's last update instead of its own."""
        ...

    def poison_update(
        self,
        trained: dict[str, np.ndarray],
        parent: dict[str, np.ndarray],
        generator: np.random.Generator,
    ) -> dict[str, np.ndarray] | None:
        """Return the parameters it submits, `None` for none."""
        ...

    def poison_scores(
        self,
        vector: list[int | None],
        subjects: Sequence[Subject],
        allies: frozenset[str],
    ) -> list[int | None]:
        """Return the scores it gives."""
        ...

    def present(self, stage: str, window: str, round_number: int) -> bool:
        """Whether it acts in a window of a stage."""
        ...


class Honest:
    """The conduct of a member that does what it agreed to."""

    copies = False

    def poison_update(
        self,
        trained: dict[str, np.ndarray],
        parent: dict[str, np.ndarray],  # noqa: ARG002
        generator: np.random.Generator,  # noqa: ARG002
    ) -> dict[str, np.ndarray] | None:
        """See `Conduct.poison_update`."""
        return trained

    def poison_scores(
        self,
        vector: list[int | None],
        subjects: Sequence[Subject],  # noqa: ARG002
        allies: frozenset[str],  # noqa: ARG002
    ) -> list[int | None]:
        """See `Conduct.poison_scores`."""
        return vector

    def present(self, stage: str, window: str, round_number: int) -> bool:  # noqa: ARG002
        """See `Conduct.present`."""
        return True


HONEST = Honest()
