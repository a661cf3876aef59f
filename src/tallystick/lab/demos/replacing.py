"""One device that replaces the model in one round, against plain averaging and against the recipe.

Whoever is drawn into the committee does not train, so nobody knows beforehand who will: the first
member that trains in the round is the one that attacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tallystick.federation.conduct import Honest
from tallystick.lab.attacks.rows import add_update
from tallystick.lab.demos.audit import honest_refusals
from tallystick.lab.demos.cases import spread
from tallystick.lab.demos.checks import Check, at_least, at_most, rounded, same
from tallystick.lab.demos.defended import PLAIN
from tallystick.lab.demos.playing import play
from tallystick.lab.demos.promises import is_measured
from tallystick.mechanisms.reasons import NORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge, Moment
    from tallystick.lab.demos.cases import Case
    from tallystick.lab.demos.playing import Played
    from tallystick.lab.demos.world import World

__all__ = ["FLOOR", "Replaced", "Shot", "replaced_cases", "replaced_checks", "run_replaced"]

UNSCREENED = {"screen": {"norm_times": 0, "range_bits": 31}}  # lets any length pass
FLOOR = 0.92  # what the recipe keeps of digits among twenty


class Shot(Honest):
    """The conduct of members of whom one, the first to train in a round, replaces the model then.

    It submits parent + power * (wanted - parent), as Bagdasaryan et al. (AISTATS 2020,
    arXiv:1807.00459) do; no data are needed.

    A member asks whether it is present before it does anything in a round, which tells the round.
    """

    def __init__(self, power: float, number: int, fired: list[str], name: str) -> None:
        """Be ready; ``fired`` is shared by all, and names who attacked."""
        self._power = power
        self._number = number
        self._fired = fired
        self._name = name
        self._round = 0

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        self._round = moment.key.round
        return True

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,  # noqa: ARG002 - an attack's signature
        knowledge: Knowledge,  # noqa: ARG002
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        if self._round != self._number or self._fired:
            return trained
        self._fired.append(self._name)
        # What is wanted is the parent negated: wrong wherever the parent is right.
        return add_update(parent, {name: -2 * self._power * part for name, part in parent.items()})


@dataclass(frozen=True)
class Replaced:
    """What became of a model that somebody tried to replace.

    Attributes
    ----------
    before, undefended
        Accuracy under plain averaging, before the round and after it.
    lowest
        The recipe's lowest accuracy from that round on.
    clean
        The same where nobody attacks, measured if the lowest is below the promised floor.
    attempts, refused
        How many updates were meant to replace the model, and how many of them were refused.
    screened, honest
        The share of honest updates that the screen refused, and that were refused at all.
    """

    seed: int
    round: int
    before: float
    undefended: float
    lowest: float
    clean: float | None
    attempts: int
    refused: int
    screened: float
    honest: float


def run_replaced(world: World, number: int, floor: float = 0.0) -> Replaced:
    """Let one device replace the model in a round, with the strength of as many as there are."""
    conduct, _ = _loaded(world, number)
    plain = play(world, conduct=conduct, recipe=PLAIN, rounds=number, stage=UNSCREENED)
    undefended = dict(plain.accuracies(world))
    conduct, fired = _loaded(world, number)
    played = play(world, conduct=conduct)
    lowest = _lowest(world, played, number)
    honest = honest_refusals(played, frozenset(fired))
    wrong = [found for found in played.history.refusals if found.member in fired]
    long = sum(found.code == NORM for found in played.history.refusals)
    hit = sum(found.round == number and found.code == NORM for found in wrong)
    unharmed = None
    if lowest < floor:
        unharmed = _lowest(world, play(world, conduct={}), number)
    return Replaced(
        seed=world.seed,
        round=number,
        before=undefended.get(number - 1, 0.0),
        undefended=undefended.get(number, 1.0),
        lowest=lowest,
        clean=unharmed,
        attempts=len(fired),
        refused=hit,
        screened=(long - hit) / max(1, honest.sent),
        honest=honest.refused_share,
    )


def replaced_checks(world: World, found: Replaced) -> Iterable[Check]:
    """Yield what a demo promises of one attempt; of accuracy only where it was measured."""
    yield same(
        "replaced-attempt-refused", found.refused, 1, "The attempt is refused for its length."
    )
    if not is_measured(world):
        return
    yield at_most(
        "replaced-undefended-collapses",
        rounded(found.undefended),
        rounded(world.constant),
        f"One device sends {len(world.members)} times what would turn the model against itself: "
        f"plain averaging falls from {100 * found.before:.1f} % to what guessing gives, or less.",
    )
    yield at_least(
        "replaced-defended-stands",
        rounded(found.lowest),
        rounded(found.before - 0.05),
        f"From round {found.round} on this recipe never falls far below what averaging had before.",
    )
    yield at_most(
        "replaced-honest-screened",
        rounded(found.screened),
        0.02,
        "Share of honest updates that the screen refuses.",
    )


def replaced_cases(
    cases: Sequence[Case], number: int, progress: Callable[[str, int, int], None]
) -> list[Replaced]:
    """Run the cases on both cores."""
    return spread(partial(_run_case, number), cases, "replacing", progress)


def _run_case(number: int, case: Case) -> Replaced:
    return run_replaced(case.world(), min(number, case.rounds), FLOOR)


def _loaded(world: World, number: int) -> tuple[dict[str, Shot], list[str]]:
    """Return everybody's conduct, and the list that will name who attacked."""
    fired: list[str] = []
    power = len(world.members)  # so that a mean of so many becomes what is wanted
    return {name: Shot(power, number, fired, name) for name in world.members}, fired


def _lowest(world: World, played: Played, number: int) -> float:
    return min((found for at, found in played.accuracies(world) if at >= number), default=0.0)
