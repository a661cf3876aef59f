"""A committee that colluders have captured for one round.

Nobody can force the beacon, but a simulation can look ahead: whom it draws depends on salts, not on
what members submit. So a first run tells who will sit in the round's committee, and three of those
are made the colluders of a second one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tallystick.lab.attacks.registry import assign, parse_attack
from tallystick.lab.demos.cases import Case, spread
from tallystick.lab.demos.playing import play
from tallystick.mechanisms.records import ROUND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tallystick.provenance.facts import TaskHistory

__all__ = ["Capture", "capture_cases", "run_capture"]

CAPTURED = 15  # the round
COLLUDERS, MAJORITY = 6, 3
RECOVERY = 5
ATTACK = "sign-flip:4+lying-scorer"


@dataclass(frozen=True)
class Capture:
    """What became of the model from the captured round on.

    Attributes
    ----------
    colluders
        How many sat in that round's committee.
    lowest, recovered
        The lowest accuracy from then on, and the highest within the five rounds after it.
    """

    seed: int
    round: int
    colluders: int
    lowest: float
    recovered: float
    done: bool


def capture_cases(
    recipe: str,
    seeds: Iterable[int],
    progress: Callable[[str, int, int], None],
    stage: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Capture]:
    """Run a capture for every seed, on both cores; ``stage`` changes the recipe."""
    stages = stage or {}
    cases = [Case("capture", recipe, "digits", 20, 30, seed=seed, stage=stages) for seed in seeds]
    return spread(run_capture, cases, "capturing", progress)


def run_capture(case: Case) -> Capture:
    """Look ahead, choose the colluders, and run with them."""
    world = case.world()
    captured = min(CAPTURED, case.rounds)
    drawn = _committee(play(world, stage=case.stage).history, captured)
    others = [name for name in world.members if name not in drawn]
    chosen = (*drawn[:MAJORITY], *others[: COLLUDERS - MAJORITY])
    attackers = assign([parse_attack(f"{ATTACK}={len(chosen)}")], world.members, chosen)
    world = replace(world, attackers=attackers)
    played = play(world, stage=case.stage)
    after = {number: found for number, found in played.accuracies(world) if number >= captured}
    soon = [found for number, found in after.items() if captured < number <= captured + RECOVERY]
    return Capture(
        seed=case.seed,
        round=captured,
        colluders=len(set(_committee(played.history, captured)) & set(chosen)),
        lowest=min(after.values(), default=0.0),
        recovered=max(soon, default=0.0),
        done=played.history.status == "done",
    )


def _committee(history: TaskHistory, number: int) -> tuple[str, ...]:
    for found in history.rounds:
        if found.phase == ROUND and found.number == number and "committee" in found.stages:
            return tuple(seat.author for seat in found.stages["committee"].output.live)
    return ()
