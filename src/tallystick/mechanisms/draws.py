"""Draws by a task's beacon, shared by the rules that select and by tie-breaking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.records import Key
    from tallystick.mechanisms.rule import Inputs, Seat

__all__ = ["draw_seats", "member_subject", "ticket"]


def ticket(beacon: bytes, key: Key, member: str) -> bytes:
    """Return a member's ticket in a draw: the lowest are drawn."""
    return sha256("draw", beacon, encode(key), member.encode())


def draw_seats(inputs: Inputs, seats: int) -> tuple[Seat, ...]:
    """Draw up to ``seats`` of the roster; withholders of a salt are left out."""
    candidates = [seat for seat in inputs.roster if seat.member not in inputs.withheld]
    return tuple(_lowest(inputs, candidates)[:seats])


def member_subject(member: str) -> bytes:
    """Return the subject id that stands for a member."""
    return sha256("member", member.encode())


def _lowest(inputs: Inputs, seats: Iterable[Seat]) -> list[Seat]:
    return sorted(
        seats, key=lambda seat: (ticket(inputs.beacon, inputs.key, seat.member), seat.member)
    )
