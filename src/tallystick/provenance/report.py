"""What a verification found: one line a check, and the facts it established."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import VerificationError

__all__ = ["Check", "Report"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its id, whether it held, and what it says in a sentence."""

    id: str
    ok: bool
    says: str

    def to_json(self) -> dict[str, Any]:
        """Return it as the command line prints it."""
        return {"id": self.id, "ok": self.ok, "says": self.says}


@dataclass(slots=True)
class Report:
    """The checks in the order they ran, and what they are about.

    True exactly when every check held and there was one.

    Attributes
    ----------
    genesis, model_root
        Lower-case hex, empty when unknown.
    trial
        Whether the ledger's keys came from a seed or one machine: then it proves nothing.
    status
        How the task ended, or ``running``; empty when its history does not hold.
    model_sha256
        Of the model file that was checked; empty without one.
    finality
        ``engine``, ``signers`` and what that is worth (``says``).
    closing_signatures
        ``members`` who were asked for one, and how many ``signed``.
    """

    checks: list[Check] = field(default_factory=list[Check])
    genesis: str = ""
    trial: bool = False
    task: str = ""
    status: str = ""
    height: int = 0
    model_root: str = ""
    model_sha256: str = ""
    rounds: int = 0
    finality: dict[str, Any] = field(default_factory=dict[str, Any])
    closing_signatures: dict[str, int] = field(default_factory=lambda: {"members": 0, "signed": 0})

    def add(self, check: str, says: str, *, ok: bool = True) -> bool:
        """Add a check; return whether it held."""
        self.checks.append(Check(check, ok, says))
        return ok

    @property
    def ok(self) -> bool:
        """Whether every check held; no checks prove nothing."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def __bool__(self) -> bool:
        return self.ok

    def require(self) -> Report:
        """Return the report if it is true.

        Raises
        ------
        VerificationError
            A check failed; the message is what it says.
        """
        failed = [check for check in self.checks if not check.ok]
        if not self.ok:
            msg = f"{failed[0].id}: {failed[0].says}" if failed else "nothing was checked"
            raise VerificationError(msg)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``tally verify --json`` prints."""
        return {
            "format": "tally.verify/1",
            "ok": self.ok,
            "genesis": self.genesis,
            "trial": self.trial,
            "task": self.task,
            "status": self.status or None,
            "height": self.height,
            "model_root": self.model_root or None,
            "model_sha256": self.model_sha256 or None,
            "rounds": self.rounds,
            "finality": self.finality,
            "closing_signatures": self.closing_signatures,
            "checks": [check.to_json() for check in self.checks],
        }
