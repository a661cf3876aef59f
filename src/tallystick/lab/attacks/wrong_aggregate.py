"""Wrong aggregate: colluders attest the old model as the new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Knowledge
    from tallystick.mechanisms.records import Output

__all__ = ["WrongAggregate"]


@dataclass(frozen=True, slots=True)
class WrongAggregate(Attack):
    """Sign, and try to open, aggregates that name the round's parent as their result.

    All colluders name the same, so their signatures add up; with more than two thirds of the
    roster, training would stand still, and ``verify --replay`` would say where.

    Its author knows the ledger, and that its allies sign the same.
    """

    name: ClassVar[str] = "wrong-aggregate"

    def poison_output(self, output: Output, kind: str, knowledge: Knowledge) -> Output:
        """See `Conduct.poison_output`."""
        root, size = knowledge.parent
        if kind != "aggregate" or not root:
            return output
        subjects = tuple(
            msgspec.structs.replace(subject, id=root, columns=(size, *subject.columns[1:]))
            for subject in output.subjects
        )
        return msgspec.structs.replace(output, subjects=subjects)
