"""``fl-block``: bflc behind a screen against replaced models; tokens, shredded keys, mined blocks.

Besides what `bflc` shows: one device that outweighs all others in one round, a guest who may read
and tries more, a model that is forgotten, the same task while branches die, and how fast miners
should mine. The device has a run of its own, so that the demo's can be interrupted and go on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick.lab.block_rate import Latency, draw_sweep
from tallystick.lab.demos.acceptance_fl_block import accept_fl_block, rate_checks
from tallystick.lab.demos.defended import tell_defended
from tallystick.lab.demos.forks import fork_checks
from tallystick.lab.demos.guest import guest_checks
from tallystick.lab.demos.options import Demo
from tallystick.lab.demos.replacing import replaced_checks, run_replaced

if TYPE_CHECKING:
    from tallystick.lab.demos.options import DemoOptions
    from tallystick.lab.demos.result import Story

__all__ = ["DEMO"]

ROUND = 6  # in which the model is to be replaced
PLOT = "block-rate.png"


def _tell(demo: Demo, options: DemoOptions) -> Story:
    story = tell_defended(demo, options)
    world, total = story.world, 4
    options.progress("tokens", 0, total)
    story.checks += guest_checks(story.run, world)
    options.progress("replacing", 1, total)
    if world.rounds > 1:  # what is replaced has to be a model first
        found = run_replaced(world.honest, min(ROUND, world.rounds))
        story.checks += replaced_checks(world, found)
        story.metrics.setdefault("accuracy_undefended", found.undefended)
    options.progress("mining", 2, total)
    story.checks += fork_checks(world)
    options.progress("mining", 3, total)
    latency = Latency()
    story.checks += rate_checks(latency, options.seed)
    draw_sweep(story.run.out / PLOT, latency, options.seed)
    files = {**story.run.files, "block_rate": str(story.run.out / PLOT)}
    options.progress("mining", total, total)
    return replace(story, run=replace(story.run, files=files))


DEMO = Demo(
    recipe="fl-block",
    says="a device tries to replace the model, a guest to do more than its token allows; "
    "forks, shredded keys and the best block rate",
    data="digits",
    members=10,
    rounds=10,
    fewest=6,  # three train: of two lengths neither is the odd one
    kind="device",
    attackers=lambda _: ["none=0"],
    epochs=2,
    tell=_tell,
    accept=accept_fl_block,
)
