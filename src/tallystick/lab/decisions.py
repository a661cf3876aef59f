"""How good a run's decisions were: whose updates were refused, how often, and for which reasons.

A member counts as malicious when it attacks, whatever it attacks with: an honest update that a
lying scorer sends is a malicious member's update.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallystick.mechanisms.records import ROUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.provenance.facts import RoundHistory, TaskHistory

__all__ = ["Decisions", "Judged", "Treated", "read_decisions", "total_reasons"]

Name = tuple[bytes, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One round's updates; nothing is accepted in a round that was void."""

    number: int
    void: bool
    accepted_honest: int
    refused_honest: int
    accepted_malicious: int
    refused_malicious: int


@dataclass(frozen=True, slots=True)
class Treated:
    """How one member fared over the whole run."""

    member: str
    malicious: bool
    sent: int
    refused: int
    reasons: Mapping[str, int]

    @property
    def share(self) -> float:
        """Refused of sent, 0 to 1; 0 when nothing was sent."""
        return self.refused / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True)
class Decisions:
    """A run's decisions by round, and by member in the members' order."""

    rounds: tuple[Judged, ...]
    members: tuple[Treated, ...]

    def of(self, *, malicious: bool) -> Treated:
        """Return all malicious members, or all honest ones, as if they were one."""
        chosen = [found for found in self.members if found.malicious == malicious]
        return Treated(
            "malicious" if malicious else "honest",
            malicious,
            sum(found.sent for found in chosen),
            sum(found.refused for found in chosen),
            total_reasons(chosen),
        )

    @property
    def worst_treated(self) -> Treated | None:
        """The honest member with the largest share refused, first by name; `None` without any."""
        honest = [found for found in self.members if found.sent and not found.malicious]
        return max(honest, key=lambda found: found.share, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return it as documents hold it."""
        return {
            "honest": _counts(self.of(malicious=False)),
            "malicious": _counts(self.of(malicious=True)),
            "members": [
                {"member": found.member, "malicious": found.malicious, **_counts(found)}
                for found in self.members
            ],
        }


def read_decisions(history: TaskHistory, malicious: frozenset[str]) -> Decisions:
    """Return what became of every update that was revealed in a learning round."""
    refused: dict[int, dict[Name, str]] = {}
    for refusal in history.refusals:
        name = (refusal.update, refusal.member)
        refused.setdefault(refusal.round, {})[name] = refusal.reason
    sent: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    rounds: list[Judged] = []
    for found in history.rounds:
        if found.phase != ROUND:
            continue
        names = sorted(history.updates(found))
        no = refused.get(found.number, {})
        sent.update(member for _, member in names)
        for name in names:
            if name in no:
                reasons.setdefault(name[1], Counter())[no[name]] += 1
        rounds.append(_judge(found, names, no, malicious))
    members = tuple(
        Treated(
            member,
            member in malicious,
            count,
            sum(reasons.get(member, Counter()).values()),
            dict(sorted(reasons.get(member, Counter()).items())),
        )
        for member, count in sorted(sent.items())
    )
    return Decisions(tuple(rounds), members)


def total_reasons(members: list[Treated]) -> dict[str, int]:
    """Return how often each reason was given to any of these members, by reason."""
    total: Counter[str] = Counter()
    for found in members:
        total.update(found.reasons)
    return dict(sorted(total.items()))


def _judge(
    found: RoundHistory, names: list[Name], refused: Mapping[Name, str], malicious: frozenset[str]
) -> Judged:
    counts: Counter[tuple[bool, bool]] = Counter(
        (name[1] in malicious, name in refused) for name in names
    )
    kept = int(found.completed)
    return Judged(
        found.number,
        not found.completed,
        kept * counts[False, False],
        counts[False, True],
        kept * counts[True, False],
        counts[True, True],
    )


def _counts(found: Treated) -> dict[str, Any]:
    return {"updates": found.sent, "refused": found.refused, "reasons": dict(found.reasons)}
