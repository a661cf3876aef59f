"""The acceptance list of ``bflc``: digits, twenty members, a committee of five, thirty rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick.lab.demos import promises
from tallystick.lab.demos.capture import capture_cases
from tallystick.lab.demos.cases import Case, Outcome, over_seeds, record_over, run_cases, share_over
from tallystick.lab.demos.checks import Check, at_least, at_most, mean_and_worst, rounded, same
from tallystick.lab.demos.defended import open_world
from tallystick.lab.demos.probes import probe, probe_checks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.lab.demos.options import Demo, DemoOptions

__all__ = ["accept_bflc", "cases_of"]

DIRICHLET = "dirichlet:0.5"
BAD = 6
COLLUSION = ("gaussian:1", "sign-flip:4", "label-flip")
AVERAGING = {"gaussian:1": 0.75, "sign-flip:4": 0.05}  # what is left of it at most
PUBLISHED, RECORDED = "published-best-k", "recorded"
POINTS = {"reader": 6, "copied": 5}
MOST_EFFECTS = 16
FEW = 4  # seeds, for the published rules and for bundles that are replayed
# The published rules: a quota, and lengths that accepted updates set, whoever accepted them.
BEST_K = {
    "decide": {"rule": "decide/best-k-as-published/1", "k": 12},
    "aggregate": {"rule": "aggregate/mean/1"},
}
CLIP_OVER_ACCEPTED = {
    "decide": {"tolerance_bps": 10_000},
    "aggregate": {"clip_over": "decide"},
}


def accept_bflc(demo: Demo, options: DemoOptions) -> list[Check]:
    """Run the whole list over the seeds asked for."""
    seeds = range(options.seed, options.seed + options.seeds)
    cases = over_seeds(cases_of(demo.recipe), seeds)
    cases += over_seeds(few_of(demo.recipe), seeds[:FEW])
    found = run_cases(cases, options.progress)
    checks = [*_accuracy(found), *_captured(options, demo.recipe)]
    world = open_world(demo, options)
    for check in probe_checks(probe(world), world):
        point = POINTS.get(check.id.partition("-")[0], 4)
        checks.append(replace(check, id=f"{point}-{check.id}"))
    everything = [one for outcomes in found.values() for one in outcomes]
    checks += record_over(everything, "6-record")
    checks += _honest(found)
    checks += _effects(found)
    return sorted(checks, key=lambda check: int(check.id.partition("-")[0]))


def cases_of(recipe: str) -> Iterable[Case]:
    """Yield every setting of the list."""
    clean = Case("clean-iid", recipe, "digits", 20, 30)
    yield clean
    for attack in COLLUSION:
        yield replace(
            clean,
            label=f"{attack.replace(':', '-')}-iid",
            attacks=(f"{attack}+lying-scorer={BAD}",),
            plain=attack in AVERAGING,
            effects=MOST_EFFECTS,
        )
    uneven = replace(clean, label="clean-dirichlet", partition=DIRICHLET)
    yield uneven
    flips = (f"sign-flip:4+lying-scorer={BAD}",)
    yield replace(uneven, label="sign-flip-4-dirichlet", attacks=flips)


def few_of(recipe: str) -> Iterable[Case]:
    """Yield what a few seeds show as well as many."""
    clean = Case(RECORDED, recipe, "digits", 20, 30)
    yield replace(clean, record=True)
    yield replace(clean, label=PUBLISHED, attacks=(f"gaussian:1={BAD}",), stage=BEST_K)


def _accuracy(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    def values(label: str) -> list[float]:
        return [one.accuracy for one in found[label]]

    yield from mean_and_worst(
        "1-clean", values("clean-iid"), "Accuracy, nobody attacks", mean=0.93, worst=0.92
    )
    yield from mean_and_worst(
        "1-clean-dirichlet", values("clean-dirichlet"), "Accuracy on uneven rows", worst=0.87
    )
    for attack in COLLUSION:
        label = f"{attack.replace(':', '-')}-iid"
        says = f"Accuracy with {BAD} of 20 colluding, {attack}"
        yield from mean_and_worst(
            f"2-collusion-{label}", values(label), says, mean=0.92, worst=0.87
        )
        plain = [one.plain for one in found[label] if one.plain is not None]
        if plain:
            yield at_most(
                f"2-averaging-{label}",
                max(plain),
                AVERAGING[attack],
                f"Plain averaging under {attack}, its best seed.",
            )
    packed = values(PUBLISHED)
    yield at_most(
        "2-published-best-k",
        rounded(sum(packed) / len(packed)),
        0.85,
        f"The best 12 of 15, as published, with {BAD} of 20 submitting gaussian:1 and all scorers "
        f"honest: mean of the seeds; the lowest is {min(packed):.3f}.",
    )


def _captured(options: DemoOptions, recipe: str) -> Iterable[Check]:
    seeds = range(options.seed, options.seed + options.seeds)
    found = capture_cases(recipe, seeds, options.progress)
    yield at_least(
        "3-captured-committee",
        min(one.colluders for one in found),
        3,
        f"Colluders in the committee of round {found[0].round}, every seed.",
    )
    yield at_least(
        "3-captured-lowest",
        min(one.lowest for one in found),
        0.85,
        "Accuracy from the captured round on never falls below, every seed.",
    )
    yield at_least(
        "3-captured-recovers",
        min(one.recovered for one in found),
        0.88,
        "Accuracy within five rounds of the captured one, every seed.",
    )
    yield same(
        "3-captured-tasks-done",
        sum(one.done for one in found),
        len(found),
        "Captured runs that end as tasks should.",
    )
    published = capture_cases(recipe, seeds[:FEW], options.progress, CLIP_OVER_ACCEPTED)
    lowest = [one.lowest for one in published]
    yield at_most(
        "3-published-clip",
        rounded(sum(lowest) / len(lowest)),
        0.75,
        "Lengths taken from what the captured committee accepted, as published: the lowest "
        f"accuracy from then on, mean of the seeds; the lowest is {min(lowest):.3f}.",
    )


def _honest(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    for label, outcomes in found.items():
        if label in {PUBLISHED, RECORDED}:
            continue
        attacked = bool(outcomes[0].case.attacks)
        uneven = outcomes[0].case.partition != "iid"
        bound = {(0, 0): 0.05, (1, 0): 0.12, (0, 1): 0.15, (1, 1): 0.30}[attacked, uneven]
        most = max(outcomes, key=lambda one: one.honest_refused)
        says = f"Honest updates refused (most with seed {most.case.seed}: {most.worst_treated})"
        values = [one.honest_refused for one in outcomes]
        yield from mean_and_worst(
            f"7-honest-refused-{label}", values, says, worst=bound, high=False
        )


def _effects(found: dict[str, list[Outcome]]) -> Iterable[Check]:
    for label, outcomes in found.items():
        moved = [one.effect for one in outcomes if one.effect is not None]
        if moved:
            sent, refused = (sum(one.poisoned[at] for one in outcomes) for at in (0, 1))
            yield at_most(
                f"8-without-effect-{label}",
                round(max(moved), 9),
                promises.EFFECT,
                f"{refused} of {sent} poisoned updates were refused; without another one accuracy "
                f"would have moved, by a point or more in {share_over(outcomes)} of rounds.",
            )
