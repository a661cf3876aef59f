"""``chain-fl``: federated averaging with the ledger in the server's place, and nobody to trust.

Nothing is judged here, so there are no poisoners by default: its stories are about members who are
absent, late or dead, and about bytes that change on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.lab.demos.acceptance_chain_fl import accept_chain_fl
from tallystick.lab.demos.defended import measure_accuracy, open_world
from tallystick.lab.demos.network import run_story
from tallystick.lab.demos.options import Demo
from tallystick.lab.demos.probes import probe, probe_checks
from tallystick.lab.demos.record import record_checks
from tallystick.lab.demos.stories import blob_checks, death_checks, quorum_checks, void_checks

if TYPE_CHECKING:
    from tallystick.lab.demos.options import DemoOptions
    from tallystick.lab.demos.result import Story

__all__ = ["DEMO"]


def _tell(demo: Demo, options: DemoOptions) -> Story:
    world = open_world(demo, options)
    total = 5
    story = run_story(world, options)
    options.progress("checking", 1, total)
    story.checks += measure_accuracy(story)
    story.checks += record_checks(story)
    options.progress("checking", 2, total)
    story.checks += probe_checks(probe(world), world)
    options.progress("checking", 3, total)
    story.checks += quorum_checks(world)
    story.checks += void_checks(world)
    options.progress("checking", 4, total)
    story.checks += death_checks(world)
    if story.run.model_file is not None:
        story.checks += blob_checks(story.run)
    options.progress("checking", total, total)
    return story


DEMO = Demo(
    recipe="chain-fl",
    says="plain averaging without a server: absent, late and dead members, and flipped bytes",
    data="digits",
    members=10,
    rounds=30,
    fewest=4,
    kind="site",
    attackers=lambda _: ["none=0"],
    epochs=2,
    tell=_tell,
    accept=accept_chain_fl,
)
