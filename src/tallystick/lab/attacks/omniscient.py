"""Omniscient: what seals hide, seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge
    from tallystick.mechanisms.records import Subject

__all__ = ["AllSeeing", "Omniscient"]


@dataclass(frozen=True, slots=True)
class Omniscient(Attack):
    """Give the attacks it stands beside, as in ``mimic+omniscient``, this round's honest updates.

    Its author sees every honest member's update before it must seal its own. No member of a sealed
    stage can; papers often assume it, and it shows what seals are worth. Alone it is honest.
    """

    name: ClassVar[str] = "omniscient"
    omniscient: ClassVar[bool] = True


class AllSeeing:
    """Knowledge in which the honest members' updates of this round stand for all that is known.

    Whatever an attack would learn from its allies' updates, or from those of the last round, it
    learns from these.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    @property
    def member(self) -> str:
        """See `Knowledge.member`."""
        return self._knowledge.member

    @property
    def allied(self) -> frozenset[str]:
        """See `Knowledge.allied`."""
        return self._knowledge.allied

    @property
    def parent(self) -> tuple[bytes, int]:
        """See `Knowledge.parent`."""
        return self._knowledge.parent

    @property
    def last(self) -> tuple[Subject, ...]:
        """See `Knowledge.last`."""
        return self._knowledge.last

    def allies(self) -> Mapping[str, Arrays]:
        """See `Knowledge.allies`; the allies' own where nobody honest trains."""
        return self._knowledge.everybody() or self._knowledge.allies()

    def revealed(self) -> Mapping[str, Arrays]:
        """See `Knowledge.revealed`."""
        return self._knowledge.everybody() or self._knowledge.revealed()

    def everybody(self) -> Mapping[str, Arrays]:
        """See `Knowledge.everybody`."""
        return self._knowledge.everybody()
