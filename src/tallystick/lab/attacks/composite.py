"""Several attacks by one member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.omniscient import AllSeeing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge, Moment, Scores
    from tallystick.mechanisms.records import Artefact, Output, Subject

__all__ = ["Composite"]


@dataclass(frozen=True, slots=True)
class Composite(Attack):
    """Several attacks by one member: each alters what the one before it left.

    Where only one of them can have its way (which artefact, which parent), the first does that
    chooses otherwise than an honest member.
    """

    attacks: tuple[Attack, ...] = ()

    @property
    def label(self) -> str:
        """See `Attack.label`."""
        return "+".join(attack.label for attack in self.attacks)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """See `Attack.parts`."""
        return self.attacks

    def overrides(self, *hooks: str) -> bool:
        """See `Attack.overrides`."""
        return any(attack.overrides(*hooks) for attack in self.attacks)

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        return all(attack.present(moment) for attack in self.attacks)

    def choose_artefact(self, knowledge: Knowledge) -> Artefact | None:
        """See `Conduct.choose_artefact`."""
        chosen = (attack.choose_artefact(knowledge) for attack in self.attacks)
        return next((artefact for artefact in chosen if artefact is not None), None)

    def choose_parent(self, knowledge: Knowledge) -> tuple[bytes, int]:
        """See `Conduct.choose_parent`."""
        chosen = (attack.choose_parent(knowledge) for attack in self.attacks)
        return next((parent for parent in chosen if parent != knowledge.parent), knowledge.parent)

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
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        if any(attack.omniscient for attack in self.attacks):
            knowledge = AllSeeing(knowledge)
        submitted: Arrays | None = trained
        for attack in self.attacks:
            if submitted is None:
                return None
            submitted = attack.poison_update(submitted, parent, generator, knowledge)
        return submitted

    def poison_scores(
        self,
        vector: Scores,
        subjects: Sequence[Subject],
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Scores:
        """See `Conduct.poison_scores`."""
        for attack in self.attacks:
            vector = attack.poison_scores(vector, subjects, generator, knowledge)
        return vector

    def poison_holds(
        self, vector: list[int], subjects: Sequence[Subject], knowledge: Knowledge
    ) -> list[int]:
        """See `Conduct.poison_holds`."""
        for attack in self.attacks:
            vector = attack.poison_holds(vector, subjects, knowledge)
        return vector

    def poison_output(self, output: Output, kind: str, knowledge: Knowledge) -> Output:
        """See `Conduct.poison_output`."""
        for attack in self.attacks:
            output = attack.poison_output(output, kind, knowledge)
        return output

    def poison_signature(self, signature: bytes) -> bytes:
        """See `Conduct.poison_signature`."""
        for attack in self.attacks:
            signature = attack.poison_signature(signature)
        return signature
