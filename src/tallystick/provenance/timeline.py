"""Who was a member, with which keys, at which height: what signatures in a log are checked by."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.ledger.contracts.members import Member, active_members, known_members
from tallystick.ledger.contracts.validators import seats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.ledger.state import State

__all__ = ["Membership", "Timeline"]


@dataclass(frozen=True, slots=True)
class Membership:
    """The active members, sorted, everybody's keys, and who validates under CometBFT."""

    roll: tuple[str, ...]
    members: Mapping[str, Member]
    validators: tuple[str, ...]

    def key(self, member: str, index: int) -> bytes | None:
        """Return a member's public key if it is valid now."""
        row = self.members.get(member)
        if row is None or not row.active or index >= len(row.keys):
            return None
        return row.keys[index].public if row.keys[index].active else None


@dataclass(slots=True)
class Timeline:
    """Memberships by the height of the first block that was executed under them."""

    _heights: list[int] = field(default_factory=list[int])
    _known: list[Membership] = field(default_factory=list[Membership])

    def at(self, height: int) -> Membership:
        """Return the membership that block ``height`` was executed under."""
        found = bisect_right(self._heights, height)
        return self._known[max(0, found - 1)]

    def note(self, height: int, state: State) -> None:
        """Remember the membership that blocks from ``height`` on see."""
        self._heights.append(height)
        self._known.append(Membership(active_members(state), known_members(state), seats(state)))
