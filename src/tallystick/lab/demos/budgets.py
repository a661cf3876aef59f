"""What a private run spent: the same in floating point, and no round more than was planned for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tallystick.crypto.hashes import sha256
from tallystick.lab.demos.checks import Check, at_most, rounded, same
from tallystick.lab.demos.hand import Attempt, Hands, live_view
from tallystick.lab.demos.world import scratch_folder
from tallystick.ledger.collect.rows import STAGES
from tallystick.ledger.messages import Collect, entry_of
from tallystick.mechanisms.records import ROUND, Seal
from tallystick.mechanisms.submit.private_update import SubmitPrivateUpdate
from tallystick.mechanisms.theory.protection import SENSITIVITIES
from tallystick.mechanisms.theory.rdp import ORDERS
from tallystick.provenance.spending import spending

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from tallystick.federation.run import Run
    from tallystick.federation.simulation import Federation
    from tallystick.lab.demos.world import World
    from tallystick.provenance.facts import TaskHistory

__all__ = ["epsilon_spent", "overspend_checks", "recomputed", "spending_checks"]

NANOS, PICOS = 10**9, 10**12
NEAR = 1e-6  # what rounding every order's cost up to a billionth comes to, many times over
OVER_BUDGET = 441  # the code of `tallystick.ledger.contracts.budgets.BudgetExhaustedError`


def epsilon_spent(history: TaskHistory) -> float:
    """Return the most that the run spent of any member's data set; 0 when nothing was charged."""
    return max((each.epsilon_nanos for each in spending(history)), default=0) / NANOS


def recomputed(history: TaskHistory) -> float:
    """Return the same from noise, sensitivity and the number of charges alone, in floating point.

    References
    ----------
    Mironov, CSF 2017, arXiv:1702.07476. Canonne, Kamath, Steinke, NeurIPS 2020, arXiv:2004.00010.
    """
    charges = max((each.charges for each in spending(history)), default=0)
    rules = [step.rule for step in history.plan.phases[ROUND]]
    rule = next((rule for rule in rules if isinstance(rule, SubmitPrivateUpdate)), None)
    if rule is None:
        return 0.0
    ratio = 1000 * SENSITIVITIES[rule.adjacency] / rule.noise_multiplier_millis
    delta = math.log(rule.delta_picos / PICOS)
    orders = [tenths / 10 for tenths in ORDERS]
    return min(
        charges * order * ratio**2 / 2
        + math.log1p(-1 / order)
        - (delta + math.log(order)) / (order - 1)
        for order in orders
    )


def spending_checks(run: Run, asked: float, name: str = "epsilon") -> Iterable[Check]:
    """Yield that what the run says it spent is what comes out of the noise, and is not too much."""
    spent, found = epsilon_spent(run.history), recomputed(run.history)
    yield at_most(
        f"{name}-within-budget",
        rounded(spent),
        asked,
        f"Spent of each data set by {run.completed} rounds, as the ledger charged it.",
    )
    yield at_most(
        f"{name}-recomputed",
        rounded(abs(spent / found - 1)) if spent else None,
        NEAR,
        f"How far that is from {found:.6f}, which noise and rounds alone come to.",
    )


def overspend_checks(
    world: World, rounds: int, privacy: Mapping[str, Any], prefix: str = ""
) -> Iterable[Check]:
    """Yield what follows when a task goes on for a round more than its budget lasts."""
    script = _OneMore(rounds + 1)
    with scratch_folder() as folder:
        run = world.run(
            folder,
            rounds=rounds + 1,
            options={"privacy": {**privacy, "rounds": rounds}},
            watch=script,
        )
        yield same(
            f"{prefix}budget-lasts",
            run.completed,
            rounds,
            f"Rounds completed of {rounds + 1}, when the budget is for {rounds}.",
        )
    attempt = script.attempt
    yield same(
        f"{prefix}over-budget-refused",
        None if attempt is None else attempt.code if attempt.harmless else -1,
        OVER_BUDGET,
        f"An update sealed in round {rounds + 1} all the same is refused with code {OVER_BUDGET}, "
        "and the state root stays as it was.",
    )


class _OneMore:
    """Called after every block: seals an update once, in the round that nobody can pay."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.attempt: Attempt | None = None

    def __call__(self, federation: Federation) -> None:
        view = live_view(federation)
        if view is None or self.attempt is not None or view.row.round != self._number:
            return
        for key in view.row.open:
            stage, step = view.state.get(STAGES, key), view.plan.find(key.phase, key.stage)
            if stage is None or step is None or step.charge is None:
                continue
            entry = entry_of(key, Seal(sha256("probe", b"one more")))
            who, message = stage.roster[0].member, Collect(view.row.id, (entry,))
            self.attempt = Hands().attempt(federation, who, message)
