"""The acceptance list of ``learningchain``: breast_cancer, twenty holders, sixty rounds.

What robust rules and lengths do is measured with next to no noise (`QUIET`), what noise does
without attackers: an attacker adds none, so that among noisy updates it would be heard too well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tallystick.lab.demos.budgets import overspend_checks
from tallystick.lab.demos.cases import Case, Outcome, over_seeds, record_over, run_cases
from tallystick.lab.demos.checks import Check, at_least, at_most, mean_and_worst, rounded, same
from tallystick.lab.demos.defended import open_world
from tallystick.lab.demos.omission import omission_checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallystick.lab.demos.options import Demo, DemoOptions

__all__ = ["LONG", "accept_learningchain", "cases_of", "privacy_of"]

MEMBERS, ROUNDS = 20, 60
FLIP, BAD = "sign-flip:3", 8
LONG = "sign-flip:50"
QUIET = 100_000.0  # an epsilon that protects nobody
EPSILONS = {"8": (8.0, 0.94, 0.92), "1": (1.0, None, 0.70)}  # asked for; mean and worst accuracy
NEAR = 1e-6  # of itself, how far the epsilon charged may be from the one recomputed
# The published rules: whatever its length, what is closest to the sum of all.
LOUD: Mapping[str, Mapping[str, Any]] = {
    "screen": {"norm_times": 0, "range_bits": 31},
    "lengths": {"longest_bps": 0},
}
MEAN = {**LOUD, "aggregate": {"rule": "aggregate/mean/1"}}
PUBLISHED = {**LOUD, "aggregate": {"rule": "aggregate/l-nearest-as-published/1", "l": 10}}
# Each round as private as asked for, and nobody adds them up.
PER_ROUND = {
    "update": {
        "rule": "submit/private-update-as-published/1",
        "data": "data",
        "epsilon_millis": 1000,
    }
}


def privacy_of(epsilon: float) -> dict[str, Any]:
    """Return a task's ``[privacy]`` with the list's delta and clipping norm."""
    return {"epsilon": epsilon, "delta": 1e-4, "clip": 0.5}


def accept_learningchain(demo: Demo, options: DemoOptions) -> list[Check]:
    """Run the whole list over the seeds asked for."""
    seeds = range(options.seed, options.seed + options.seeds)
    cases = over_seeds(cases_of(demo.recipe), seeds)
    cases += over_seeds([per_round(demo.recipe)], seeds[:1])
    found = run_cases(cases, options.progress)
    checks = [*_robust(found), *_private(found)]
    world = open_world(demo, replace(options, members=MEMBERS, attacks=[]), rounds=ROUNDS)
    checks += omission_checks(world, "5-")
    checks += overspend_checks(world, ROUNDS, privacy_of(EPSILONS["8"][0]), "6-")
    everything = [one for outcomes in found.values() for one in outcomes]
    checks += record_over(everything, "6-record")
    return sorted(checks, key=lambda check: int(check.id.partition("-")[0]))


def cases_of(recipe: str) -> Iterable[Case]:
    """Yield every setting of the list."""
    clean = Case("clean", recipe, "breast_cancer", MEMBERS, ROUNDS)
    clean = replace(clean, options={"privacy": privacy_of(QUIET)})
    yield clean
    flipped = replace(clean, label="flipped", attacks=(f"{FLIP}={BAD}",))
    yield flipped
    yield replace(flipped, label="averaged", stage=MEAN)
    long = replace(clean, label="long", attacks=(f"{LONG}=1",))
    yield long
    yield replace(long, label="published", stage=PUBLISHED)
    for name, (epsilon, _, _) in EPSILONS.items():
        private = {"privacy": privacy_of(epsilon)}
        yield replace(clean, label=f"epsilon-{name}", options=private, record=name == "8")


def per_round(recipe: str) -> Case:
    """Return the setting of the published guarantee: epsilon 1 for every single round."""
    case = Case("per-round", recipe, "breast_cancer", MEMBERS, ROUNDS, stage=PER_ROUND)
    return replace(case, options={"privacy": {**privacy_of(QUIET), "rounds": ROUNDS}})


def _robust(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    def values(label: str) -> list[float]:
        return [one.accuracy for one in found[label]]

    yield from mean_and_worst(
        "1-clean", values("clean"), "Accuracy, nobody attacks, no noise", mean=0.95, worst=0.93
    )
    says = f"Accuracy with {BAD} of {MEMBERS} submitting {FLIP}, no noise"
    yield from mean_and_worst("2-flipped", values("flipped"), says, mean=0.92, worst=0.86)
    averaged = values("averaged")
    yield at_most(
        "2-averaged",
        rounded(sum(averaged) / len(averaged)),
        0.10,
        "The same updates averaged without a defence: mean of the seeds, "
        f"{max(averaged):.3f} at best.",
    )
    long = found["long"]
    yield same(
        "3-long-refused",
        sum(one.malicious[1].get("norm", 0) for one in long),
        sum(one.completed for one in long),
        f"Messages of {LONG} by one of {MEMBERS} that are refused for their length.",
    )
    yield from mean_and_worst(
        "3-long", values("long"), "Accuracy with those messages", mean=0.95, worst=0.93
    )
    yield at_most(
        "3-published-collapses",
        rounded(max(values("published"))),
        0.15,
        "The published rule under the same single message, its best seed.",
    )


def _private(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    for name, (epsilon, mean, worst) in EPSILONS.items():
        outcomes = found[f"epsilon-{name}"]
        yield from mean_and_worst(
            f"4-epsilon-{name}",
            [one.accuracy for one in outcomes],
            f"Accuracy under ({name}, 0.0001) for each holder's rows over {ROUNDS} rounds",
            mean=mean,
            worst=worst,
        )
        yield at_most(
            f"4-epsilon-{name}-spent",
            rounded(max(one.spent for one in outcomes)),
            epsilon,
            "Epsilon charged to a data set, the most of all seeds.",
        )
        yield at_most(
            f"4-epsilon-{name}-recomputed",
            rounded(max(abs(one.spent / one.recomputed - 1) for one in outcomes)),
            NEAR,
            f"How far that is from {outcomes[0].recomputed:.6f}, which noise and rounds come to.",
        )
    each = found["per-round"][0]
    yield at_least(
        "4-published-adds-up",
        rounded(each.spent),
        EPSILONS["8"][0],
        f"Epsilon charged for the published guarantee, 1 in each of {each.completed} rounds.",
    )
