"""The acceptance list of ``chain-fl``: six points, ten members, thirty rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick.lab.demos.cases import Case, over_seeds, record_over, run_cases
from tallystick.lab.demos.checks import Check, at_most, mean_and_worst
from tallystick.lab.demos.defended import open_world
from tallystick.lab.demos.killing import bytes_at_size, kill_checks
from tallystick.lab.demos.probes import probe, probe_checks
from tallystick.lab.demos.stories import blob_checks, death_checks, quorum_checks, void_checks
from tallystick.lab.demos.world import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.lab.demos.options import Demo, DemoOptions

__all__ = ["accept_chain_fl", "cases_of"]

# Points below centralised training: mean and worst seed.
DROPS = {"digits": (0.025, 0.045), "breast_cancer": (0.015, 0.035)}
SIZES = (1_000, 1_000_000)


def accept_chain_fl(demo: Demo, options: DemoOptions) -> list[Check]:
    """Run the whole list over the seeds asked for."""
    seeds = range(options.seed, options.seed + options.seeds)
    found = run_cases(over_seeds(cases_of(demo.recipe), seeds), options.progress)
    checks: list[Check] = []
    for label, outcomes in found.items():
        mean, worst = DROPS[outcomes[0].case.data]
        checks += mean_and_worst(
            f"1-drop-{label}",
            [one.gap for one in outcomes if one.gap is not None],
            f"How far accuracy stays below centralised training, {label}",
            mean=mean,
            worst=worst,
            high=False,
        )
    world = open_world(demo, replace(options, rounds=min(options.rounds or 6, 6)))
    checks += kill_checks(world, "2-")
    with scratch_folder() as folder:
        checks += blob_checks(world.run(folder), "3-")
    for check in probe_checks(probe(world), world):
        checks.append(replace(check, id=f"4-{check.id}"))
    everything = [one for outcomes in found.values() for one in outcomes]
    checks += record_over(everything, "5-record")
    for size in SIZES:
        checks.append(
            at_most(
                f"5-bytes-at-{size}-parameters",
                bytes_at_size(demo.recipe, size, options.seed),
                512,
                f"Ledger bytes of an update of {size:,} parameters, seal and reveal.",
            )
        )
    checks += quorum_checks(world, "6-")
    checks += void_checks(world, "6-")
    checks += death_checks(world, "6-")
    return checks


def cases_of(recipe: str) -> Iterable[Case]:
    """Yield every setting of the first point."""
    for data in DROPS:
        for partition in ("iid", "dirichlet:0.5"):
            label = f"{data}-{partition.partition(':')[0]}"
            yield Case(label, recipe, data, 10, 30, partition, record=True, gap=True)
