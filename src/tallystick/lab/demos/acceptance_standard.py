"""The acceptance list of ``standard``: accuracy under attack, honest refusals, effects, record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick.lab.demos import promises
from tallystick.lab.demos.cases import Case, Outcome, over_seeds, record_over, run_cases, share_over
from tallystick.lab.demos.checks import Check, at_most, mean_and_worst
from tallystick.lab.demos.defended import open_world
from tallystick.lab.demos.probes import probe, probe_checks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.lab.demos.options import Demo, DemoOptions

__all__ = ["accept_standard", "cases_of"]

DIRICHLET = "dirichlet:0.5"
ATTACKS = ("sign-flip:4", "gaussian:1", "label-flip")
SETTINGS = (("digits", 20, 30, 6), ("breast_cancer", 8, 10, 2))

# Accuracy, mean and worst seed: clean, then attacked.
ACCURACY = {
    ("digits", "iid"): ((0.94, 0.915), (0.93, 0.90)),
    ("digits", DIRICHLET): ((0.93, 0.90), (0.915, 0.87)),
    ("breast_cancer", "iid"): ((0.96, 0.92), (0.96, 0.91)),
    ("breast_cancer", DIRICHLET): ((0.96, 0.915), (0.95, 0.905)),
}
# Share of honest updates refused, mean and worst seed: clean, then attacked.
REFUSED = {"iid": ((0.01, 0.03), (0.05, 0.10)), DIRICHLET: ((0.10, 0.16), (0.25, 0.32))}
MOST_EFFECTS = 60


def accept_standard(demo: Demo, options: DemoOptions) -> list[Check]:
    """Run the whole list over the seeds asked for."""
    seeds = range(options.seed, options.seed + options.seeds)
    found = run_cases(over_seeds(cases_of(demo.recipe), seeds), options.progress)
    checks: list[Check] = []
    for point, attacked in (("1-clean", False), ("2-attacked", True)):
        for label, outcomes in found.items():
            case = outcomes[0].case
            if bool(case.attacks) == attacked:
                checks += _accuracy(f"{point}-{label}", outcomes)
    checks += _undefended(found)
    checks += _honest(found)
    checks += _effects(found)
    everything = [one for outcomes in found.values() for one in outcomes]
    checks += record_over(everything, "6-record")
    world = open_world(demo, options)
    checks += (replace(each, id=f"7-{each.id}") for each in probe_checks(probe(world), world))
    return checks


def cases_of(recipe: str) -> Iterable[Case]:
    """Yield every setting of the list."""
    for data, members, rounds, bad in SETTINGS:
        for partition in ("iid", DIRICHLET):
            short = f"{data}-{partition.partition(':')[0]}"
            case = Case(short, recipe, data, members, rounds, partition, record=True)
            yield case
            for attack in ATTACKS:
                yield replace(
                    case,
                    label=f"{attack.replace(':', '-')}-{short}",
                    attacks=(f"{attack}={bad}",),
                    record=False,
                    plain=attack == ATTACKS[0] and partition == "iid",
                    effects=MOST_EFFECTS if partition == "iid" else None,
                )


def _accuracy(name: str, outcomes: list[Outcome]) -> Iterable[Check]:
    case = outcomes[0].case
    mean, worst = ACCURACY[case.data, case.partition][bool(case.attacks)]
    values = [found.accuracy for found in outcomes]
    says = f"Accuracy on {case.data}, {case.partition}, {case.attacks or 'nobody attacks'}"
    return mean_and_worst(name, values, says, mean=mean, worst=worst)


def _undefended(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    for label, outcomes in found.items():
        values = [one.plain for one in outcomes if one.plain is not None]
        if values:
            yield at_most(
                f"3-undefended-{label}", max(values), 0.5, "Plain averaging collapses, every seed."
            )


def _honest(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    for label, outcomes in found.items():
        case = outcomes[0].case
        mean, worst = REFUSED[case.partition][bool(case.attacks)]
        most = max(outcomes, key=lambda one: one.honest_refused)
        says = f"Honest updates refused (most with seed {most.case.seed}: {most.worst_treated})"
        values = [one.honest_refused for one in outcomes]
        yield from mean_and_worst(
            f"4-honest-refused-{label}", values, says, mean=mean, worst=worst, high=False
        )


def _effects(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    for label, outcomes in found.items():
        moved = [one.effect for one in outcomes if one.effect is not None]
        if not moved:
            continue
        sent, refused = (sum(one.poisoned[at] for one in outcomes) for at in (0, 1))
        yield at_most(
            f"5-without-effect-{label}",
            round(max(moved), 9),
            promises.EFFECT,
            f"{refused} of {sent} poisoned updates were refused; without any other one accuracy "
            f"would have moved, by a point or more in {share_over(outcomes)} of rounds.",
        )
