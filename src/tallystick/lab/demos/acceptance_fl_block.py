"""The acceptance list of ``fl-block``: six points, digits, twenty devices, thirty rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick.lab.block_rate import FACTORS, Latency, contested_share
from tallystick.lab.demos.cases import Case, over_seeds, spread
from tallystick.lab.demos.checks import (
    Check,
    at_least,
    at_most,
    mean_and_worst,
    rounded,
    same,
    worst_of,
)
from tallystick.lab.demos.forks import fork_checks
from tallystick.lab.demos.guest import guest_checks
from tallystick.lab.demos.killing import bytes_at_size
from tallystick.lab.demos.replacing import FLOOR, Replaced, replaced_cases
from tallystick.lab.demos.world import build_world, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tallystick.lab.demos.options import Demo, DemoOptions

__all__ = ["accept_fl_block", "rate_checks"]

REPLACED_IN = 15  # the round
EPOCHS = 6  # with two, digits have not converged by then: some seeds are below the floor unharmed
SIZES = (1_000, 1_000_000)
NEAR = 0.03  # how far simulation may be from formula, and the best rate from the best of the sweep
SLOWER = 1.5  # how much longer a round is at four times the best rate, and at a quarter of it
CONTESTED = 0.08  # how far the network's contested share may be from the formula's, of 400 blocks


def accept_fl_block(demo: Demo, options: DemoOptions) -> list[Check]:
    """Run the whole list over the seeds asked for."""
    seeds = range(options.seed, options.seed + options.seeds)
    cases = over_seeds([Case("replaced", demo.recipe, "digits", 20, 30, epochs=EPOCHS)], seeds)
    checks = [*_replaced(replaced_cases(cases, REPLACED_IN, options.progress))]
    checks += worst_of([[*rate_checks(Latency(), seed, "2-")] for seed in seeds])
    small = build_world(
        demo.recipe, members=6, rounds=2, seed=options.seed, data="digits", kind=demo.kind
    )
    with scratch_folder() as folder:
        checks += guest_checks(small.run(folder), small, tokens="4-", holders="3-")
    checks += _sizes(demo.recipe, options.seed)
    checks += worst_of(_forks(demo, seeds, options.progress))
    return sorted(checks, key=lambda check: int(check.id.partition("-")[0]))


def rate_checks(latency: Latency, seed: int, prefix: str = "") -> Iterable[Check]:
    """Yield how simulation and formula of the best block rate agree."""
    best = latency.best_rate
    swept = {factor: latency.simulate(factor * best, seed) for factor in FACTORS}
    predicted = latency.seconds(best)
    yield at_most(
        f"{prefix}rate-as-predicted",
        rounded(abs(swept[1.0] / predicted - 1)),
        NEAR,
        f"At {best:.4f} blocks a second of each of {latency.miners} miners a round takes "
        f"{swept[1.0]:.2f} s, times drawn from the exponential law; by formula {predicted:.2f} s.",
    )
    yield at_most(
        f"{prefix}rate-is-best",
        rounded(swept[1.0] / min(swept.values()) - 1),
        NEAR,
        f"How much shorter a round is at any other of {len(FACTORS)} rates.",
    )
    for name, factor in (("quarter", FACTORS[0]), ("fourfold", FACTORS[-1])):
        yield at_least(
            f"{prefix}rate-{name}-is-slower",
            rounded(swept[factor] / swept[1.0]),
            SLOWER,
            f"How many times as long a round takes at {factor:g} of the best rate.",
        )
    share, expected = contested_share(latency, best, seed), latency.contested(best)
    yield at_most(
        f"{prefix}rate-contested",
        rounded(abs(share - expected)),
        CONTESTED,
        f"Of the blocks of a network whose nodes execute them {100 * share:.0f} % are contested; "
        f"by formula {100 * expected:.0f} %.",
    )


def _replaced(found: list[Replaced]) -> Iterable[Check]:
    worst = min(found, key=lambda one: one.lowest)
    yield at_most(
        "1-undefended-collapses",
        rounded(max(one.undefended for one in found)),
        0.05,
        f"Plain averaging after one device replaced its model in round {REPLACED_IN}, every seed; "
        f"before that it had {100 * min(one.before for one in found):.1f} % at least.",
    )
    low = sum(one.lowest < FLOOR for one in found)
    note = "" if worst.clean is None else f", where it is {worst.clean:.3f} without any attack"
    yield from mean_and_worst(
        "1-defended-lowest",
        [one.lowest for one in found],
        f"Lowest accuracy from that round on; {low} of {len(found)} seeds are below {FLOOR:g}, the "
        f"lowest is {worst.seed}{note}",
        mean=FLOOR,
        worst=FLOOR,
    )
    costs = [one.clean - one.lowest for one in found if one.clean is not None]
    if costs:
        yield at_most(
            "1-attempt-costs",
            rounded(max(costs)),
            0.01,
            "How much higher that is where nobody attacks, of the seeds below the floor.",
        )
    yield same(
        "1-attempts-made", sum(one.attempts for one in found), len(found), "Attempts, one a seed."
    )
    yield same(
        "1-attempts-refused",
        sum(one.refused for one in found),
        len(found),
        "Attempts to replace the model that were refused, over all seeds.",
    )
    for name, values, says in (
        ("screened", [one.screened for one in found], "refused by the screen"),
        ("refused", [one.honest for one in found], "refused by screen and committee"),
    ):
        yield from mean_and_worst(
            f"1-honest-{name}",
            values,
            f"Share of honest updates {says}",
            mean=0.02,
            worst=0.02,
            high=False,
        )


def _sizes(recipe: str, seed: int) -> Iterable[Check]:
    found = [bytes_at_size(recipe, size, seed) for size in SIZES]
    for size, spent in zip(SIZES, found, strict=True):
        yield at_most(
            f"5-bytes-at-{size}-parameters",
            spent,
            512,
            f"Ledger bytes of an update of {size:,} parameters, seal and reveal.",
        )
    yield at_most(
        "5-bytes-independent-of-size",
        abs(found[0] - found[-1]),
        8,
        "How many bytes that differs by: the size itself is written in a few more or less.",
    )


def _forks(
    demo: Demo, seeds: range, progress: Callable[[str, int, int], None]
) -> list[list[Check]]:
    """Mine a small task under every seed, on both cores."""
    asked = [(demo.recipe, demo.kind, seed) for seed in seeds]
    return spread(_mined, asked, "mining", progress)


def _mined(asked: tuple[str, str, int]) -> list[Check]:
    recipe, kind, seed = asked
    world = build_world(recipe, members=6, rounds=2, seed=seed, data="wine", kind=kind)
    return [replace(check, id=f"6-{check.id}") for check in fork_checks(world)]
