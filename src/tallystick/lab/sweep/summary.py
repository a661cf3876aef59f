"""What a sweep comes to: one line a combination, over its seeds.

Nothing here is a verdict. A line gives the mean and the worst seed of what the final model is
worth, how far seeds are apart, whose updates were refused for which reasons, and which honest
member was treated worst: an average over members would hide that one.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Line", "Side", "Spread", "Worst", "name_of", "summarise"]

Name = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over several seeds: mean, smallest, largest."""

    mean: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """How far the seeds are apart: the largest less the smallest."""
        return self.high - self.low

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of the values that are there; `None` of none."""
        found = [value for value in values if value is not None]
        return cls(statistics.fmean(found), min(found), max(found)) if found else None


@dataclass(frozen=True, slots=True)
class Side:
    """The updates of all honest members, or of all malicious ones, over all seeds."""

    updates: int
    refused: int
    reasons: Mapping[str, int]

    @property
    def share(self) -> float | None:
        """Refused of all, 0 to 1; `None` of none."""
        return self.refused / self.updates if self.updates else None


@dataclass(frozen=True, slots=True)
class Worst:
    """The honest member with the largest share of its updates refused, under any seed."""

    member: str
    seed: int
    updates: int
    refused: int

    @property
    def share(self) -> float:
        """Refused of all, 0 to 1."""
        return self.refused / self.updates


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe under one attack, on one table dealt in one way, over the seeds.

    Attributes
    ----------
    accuracy, success
        Of the final model: what it is worth on rows nobody holds, and how far the attack got what
        it wanted; `None` where that has no meaning.
    rounds
        Accuracy after each round, over the seeds that got so far.
    void
        Void rounds, over all seeds.
    worst
        `None` when no honest update was refused.
    """

    recipe: str
    attack: str
    data: str
    partition: str
    seeds: int
    accuracy: Spread | None
    success: Spread | None
    rounds: tuple[Spread | None, ...]
    void: int
    honest: Side
    malicious: Side
    worst: Worst | None

    @property
    def name(self) -> Name:
        """What tells it from the others."""
        return self.recipe, self.attack, self.data, self.partition


def name_of(result: Mapping[str, Any]) -> Name:
    """Return the combination a cell's result belongs to."""
    cell = result["cell"]
    data = Path(cell["data"]["name"]).name
    return cell["recipe"], cell["attack"], data, cell["partition"]


def summarise(results: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return one line a combination, in the order of the results."""
    groups: dict[Name, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(name_of(result), []).append(result)
    return [_line(name, group) for name, group in groups.items()]


def _line(name: Name, results: list[Mapping[str, Any]]) -> Line:
    longest = max(len(result["rounds"]) for result in results)
    return Line(
        *name,
        seeds=len(results),
        accuracy=Spread.of(_final(result, "accuracy") for result in results),
        success=Spread.of(_final(result, "attack_success") for result in results),
        rounds=tuple(
            Spread.of(
                result["rounds"][at]["accuracy"] for result in results if at < len(result["rounds"])
            )
            for at in range(longest)
        ),
        void=sum(row["void"] for result in results for row in result["rounds"]),
        honest=_side(results, "honest"),
        malicious=_side(results, "malicious"),
        worst=_worst(results),
    )


def _final(result: Mapping[str, Any], column: str) -> float | None:
    """Return a number of the last round; accuracy before the first when there was no round."""
    if not result["rounds"]:
        return result["start"] if column == "accuracy" else None
    return result["rounds"][-1][column]


def _side(results: list[Mapping[str, Any]], side: str) -> Side:
    reasons: Counter[str] = Counter()
    for result in results:
        reasons.update(result["decisions"][side]["reasons"])
    counts = [
        sum(result["decisions"][side][what] for result in results)
        for what in ("updates", "refused")
    ]
    return Side(counts[0], counts[1], dict(sorted(reasons.items())))


def _worst(results: list[Mapping[str, Any]]) -> Worst | None:
    honest = [
        Worst(each["member"], result["cell"]["seed"], each["updates"], each["refused"])
        for result in results
        for each in result["decisions"]["members"]
        if each["refused"] and not each["malicious"]
    ]
    return max(honest, key=lambda found: found.share, default=None)
