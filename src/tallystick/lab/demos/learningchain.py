"""``learningchain``: private updates, and one message fifty times as long as the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.lab.demos.acceptance_learningchain import LONG, accept_learningchain, privacy_of
from tallystick.lab.demos.budgets import overspend_checks, spending_checks
from tallystick.lab.demos.defended import tell_defended
from tallystick.lab.demos.omission import omission_checks
from tallystick.lab.demos.options import Demo

if TYPE_CHECKING:
    from tallystick.lab.demos.options import DemoOptions
    from tallystick.lab.demos.result import Story

__all__ = ["DEMO"]

EPSILON = 8.0  # as the recipe has it
PLANNED = 3  # rounds, in the side run that outlives its budget


def _tell(demo: Demo, options: DemoOptions) -> Story:
    story = tell_defended(demo, options)
    world, total = story.world, 2
    story.checks += spending_checks(story.run, EPSILON)
    options.progress("spending", 0, total)
    story.checks += overspend_checks(world, PLANNED, privacy_of(EPSILON))
    options.progress("omitting", 1, total)
    story.checks += omission_checks(world)
    options.progress("omitting", total, total)
    return story


DEMO = Demo(
    recipe="learningchain",
    says="clipped and noisy updates under a privacy budget; one message is fifty times too long",
    data="breast_cancer",
    members=12,
    rounds=20,
    fewest=4,
    kind="holder",
    attackers=lambda _: [f"{LONG}=1"],
    epochs=2,
    tell=_tell,
    accept=accept_learningchain,
)
