"""What a demo found, as the document that ``tally demo --json`` prints."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tallystick.lab.decisions import read_decisions

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.federation.run import Run
    from tallystick.lab.demos.checks import Check
    from tallystick.lab.demos.options import DemoOptions
    from tallystick.lab.demos.world import World

__all__ = ["DemoResult", "Story"]

FORMAT = "tally.demo/1"


@dataclass
class Story:
    """One run with what was measured on it and around it."""

    world: World
    run: Run
    checks: list[Check] = field(default_factory=list["Check"])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    network: dict[str, Any] = field(default_factory=dict[str, Any])  # what ordered it, if one did


@dataclass(frozen=True)
class DemoResult:
    """A finished demo.

    Attributes
    ----------
    options
        What was run, nothing left open.
    attackers
        The members that attack, and how.
    network
        What ordered the ledger, if that was not this process.
    """

    options: DemoOptions
    run: Run
    checks: tuple[Check, ...]
    metrics: dict[str, Any]
    attackers: dict[str, str]
    network: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def ok(self) -> bool:
        """Whether every check held; no checks show nothing."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not hold."""
        return tuple(check for check in self.checks if not check.ok)

    def to_json(self) -> dict[str, Any]:
        """Return the document; its keys are promised by the command line's contract."""
        run, options = self.run, self.options
        model: dict[str, Any] = {}
        if run.model_file is not None:
            model = {"model_root": run.model_root, "model_sha256": _sha256(run.model_file)}
        return {
            "format": FORMAT,
            "ok": self.ok,
            "recipe": options.recipe,
            "seed": options.seed,
            "members": options.members,
            "rounds": options.rounds,
            "data": options.data,
            "partition": options.partition,
            "attackers": self.attackers,
            "trial": True,
            **({"network": self.network} if self.network else {}),
            "status": run.status,
            "checks": [check.to_json() for check in self.checks],
            "metrics": {name: _finite(value) for name, value in self.metrics.items()},
            "refused": [
                {
                    "round": found.round,
                    "member": found.member,
                    "update": found.update.hex(),
                    "code": found.code,
                    "reason": found.reason,
                    "evidence": found.evidence.hex(),
                }
                for found in run.history.refusals
            ],
            "decisions": read_decisions(run.history, frozenset(self.attackers)).to_json(),
            "genesis": run.genesis,
            "height": run.height,
            "state_root": run.state_root,
            **model,
            "files": dict(run.files),
        }


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
