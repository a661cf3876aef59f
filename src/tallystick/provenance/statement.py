"""One sentence about a task, with the place in the record that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallystick.provenance.facts import At
from tallystick.text import visible

__all__ = ["Statement", "amount", "privacy", "short"]

MICROS = 1_000_000
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence; ``evidence`` is a root or signature in hex, or empty where the record says all.

    Attributes
    ----------
    round
        The round it is about; 0 for setup.
    """

    at: At
    round: int
    says: str
    evidence: str = ""

    def __str__(self) -> str:
        """Return the sentence with its block, record and evidence, on one line."""
        basis = f"block {self.at.height}, record {self.at.number}"
        shown = f", evidence {self.evidence}" if self.evidence else ""
        return visible(f"{self.says} [{basis}{shown}]")

    def to_json(self) -> dict[str, Any]:
        """Return it as the command line prints it."""
        return {
            "says": self.says,
            "round": self.round,
            "height": self.at.height,
            "record": self.at.number,
            "evidence": self.evidence or None,
        }


def amount(micros: int) -> str:
    """Return money as people read it: whole units and what is left of one."""
    whole, rest = divmod(micros, MICROS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def privacy(epsilon_nanos: int, delta_picos: int) -> str:
    """Return epsilon, rounded up to four digits after the point, and delta as people read them.

    Examples
    --------
    >>> privacy(7_999_910_001, 10**8)
    'epsilon 8.0000 at delta 0.0001'
    """
    epsilon = -(-epsilon_nanos // 10**5)
    return f"epsilon {epsilon // 10**4}.{epsilon % 10**4:04d} at delta {delta_picos / 10**12:g}"


def short(root: bytes) -> str:
    """Return the beginning of a root, for sentences."""
    return root.hex()[:SHOWN]
