"""One setting under one seed, and many of them on both cores: what acceptance lists are made of."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tallystick.lab.decisions import read_decisions
from tallystick.lab.demos.audit import honest_refusals, replay_blocks, update_bytes
from tallystick.lab.demos.budgets import epsilon_spent, recomputed
from tallystick.lab.demos.checks import Check, at_most, same
from tallystick.lab.demos.defended import PLAIN
from tallystick.lab.demos.effect import measure_poison
from tallystick.lab.demos.playing import play
from tallystick.lab.demos.world import build_world, scratch_folder
from tallystick.lab.table_trainer import DEFAULTS
from tallystick.mechanisms.records import ROUND
from tallystick.provenance.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tallystick.federation.run import Run
    from tallystick.lab.demos.playing import Played
    from tallystick.lab.demos.world import World

__all__ = ["Case", "Outcome", "over_seeds", "record_over", "run_cases", "share_over", "spread"]

WORKERS = 2
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Case:
    """A setting, and what to measure besides accuracy.

    Attributes
    ----------
    epochs
        Local epochs a round; two are what the reference lists were measured with.
    plain
        Also run the same against plain averaging.
    effects
        Replay the rounds of at most so many accepted poisoned updates; `None` for none at all.
    record
        Also check bundle, replay and money.
    gap
        Also train one owner of all rows, and measure how far below that the model stays.
    stage, options
        Changes to the recipe.
    """

    label: str
    recipe: str
    data: str
    members: int
    rounds: int
    partition: str = "iid"
    attacks: tuple[str, ...] = ()
    seed: int = 0
    epochs: int = int(DEFAULTS["epochs"])
    plain: bool = False
    effects: int | None = None
    record: bool = False
    gap: bool = False
    stage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def world(self) -> World:
        """Return the world the case describes."""
        return build_world(
            self.recipe,
            members=self.members,
            rounds=self.rounds,
            seed=self.seed,
            data=self.data,
            partition=self.partition,
            attacks=list(self.attacks),
            kind="site",
            epochs=self.epochs,
        )


@dataclass(frozen=True)
class Outcome:
    """What a case came to; `None` where it was not asked for.

    Attributes
    ----------
    malicious
        Updates sent by all who attack, and how many were refused, by reason.
    poisoned
        Updates sent and refused, of those who poison them.
    spent, recomputed
        The largest epsilon any data set was charged, and the same in floating point.
    """

    case: Case
    accuracy: float
    gap: float | None
    honest_refused: float
    worst_treated: str
    malicious: tuple[int, Mapping[str, int]]
    completed: int
    spent: float
    recomputed: float
    update_bytes: int = 0
    plain: float | None = None
    effect: float | None = None
    effects_over: float | None = None
    poisoned: tuple[int, int] = (0, 0)
    verified: bool | None = None
    money_off: int | None = None


def over_seeds(cases: Iterable[Case], seeds: Iterable[int]) -> list[Case]:
    """Return every case with every seed, seed by seed."""
    listed = list(cases)
    return [replace(case, seed=seed) for seed in seeds for case in listed]


def run_cases(
    cases: Sequence[Case], progress: Callable[[str, int, int], None]
) -> dict[str, list[Outcome]]:
    """Run the cases on both cores; return their outcomes by label, in the order of the seeds."""
    found: dict[str, list[Outcome]] = {}
    for outcome in spread(run_case, cases, "accepting", progress):
        found.setdefault(outcome.case.label, []).append(outcome)
    return found


def spread(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    progress: Callable[[str, int, int], None],
) -> list[Result]:
    """Return what ``work`` makes of every item, in order; both cores do it."""
    found: list[Result] = []
    context = multiprocessing.get_context("spawn")  # threads and fork do not go together
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        for one in pool.map(work, items):
            found.append(one)
            progress(what, len(found), len(items))
    return found


def run_case(case: Case) -> Outcome:
    """Run one case, in memory where only the model is asked for."""
    world = case.world()
    if not case.record and case.effects is None:
        outcome = _outcome(case, world, play(world, stage=case.stage, options=case.options))
    else:
        with scratch_folder() as folder:
            run = world.run(folder, stage=case.stage, options=case.options)
            outcome = _outcome(case, world, run)
            outcome = replace(outcome, update_bytes=max(update_bytes(run.bundle), default=0))
            if case.record:
                outcome = _with_record(outcome, run)
            if case.effects is not None:
                outcome = _with_effects(outcome, world, run)
    if case.plain:
        outcome = replace(outcome, plain=world.measure(play(world, recipe=PLAIN).model))
    return outcome


def record_over(outcomes: Sequence[Outcome], name: str) -> Iterable[Check]:
    """Yield checks of the records of all outcomes that have one."""
    recorded = [found for found in outcomes if found.verified is not None]
    yield same(
        f"{name}-verifies",
        sum(bool(found.verified) for found in recorded) if recorded else None,
        len(recorded),
        "Bundles that verify, with a replay that is exact.",
    )
    yield same(
        f"{name}-supply-constant",
        sum(found.money_off or 0 for found in recorded) if recorded else None,
        0,
        "Blocks after which the money does not add up to the supply.",
    )
    yield at_most(
        f"{name}-ledger-bytes",
        max((found.update_bytes for found in recorded), default=None),
        512,
        "Ledger bytes of an update, seal and reveal.",
    )


def share_over(outcomes: Sequence[Outcome]) -> str:
    """Return how often an accepted poisoned update had an effect, in per cent, for people."""
    shares = [found.effects_over for found in outcomes if found.effects_over is not None]
    return f"{100 * sum(shares) / max(1, len(shares)):.1f} %"


def _outcome(case: Case, world: World, run: Run | Played) -> Outcome:
    honest = honest_refusals(run, frozenset(world.attackers))
    accuracy = world.measure(run.model) or 0.0
    malicious = read_decisions(run.history, frozenset(world.attackers)).of(malicious=True)
    return Outcome(
        case=case,
        accuracy=accuracy,
        gap=world.centralised - accuracy if case.gap else None,
        honest_refused=honest.refused_share,
        worst_treated=f"{honest.worst} {honest.worst_refused} of {honest.worst_sent}",
        malicious=(malicious.sent, malicious.reasons),
        completed=sum(found.completed for found in run.history.rounds if found.phase == ROUND),
        spent=epsilon_spent(run.history),
        recomputed=recomputed(run.history),
    )


def _with_record(outcome: Outcome, run: Run) -> Outcome:
    report = verify(
        run.bundle, run.genesis, model=run.model_file, replay=True, blobs=run.out / "blobs"
    )
    off = len(replay_blocks(run.bundle).off)
    return replace(outcome, verified=report.ok and run.status == "done", money_off=off)


def _with_effects(outcome: Outcome, world: World, run: Run) -> Outcome:
    poison = measure_poison(world, run, largest=outcome.case.effects)
    over = [effect for effect in poison.accepted if effect.moved >= 0.01]
    return replace(
        outcome,
        effect=poison.worst,
        effects_over=len(over) / max(1, len(poison.accepted)),
        poisoned=(poison.sent, poison.refused),
    )
