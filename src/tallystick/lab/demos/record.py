"""Checks of a run's record: money, replay, bundle, exclusion, size, honest members."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tallystick.lab.decisions import read_decisions
from tallystick.lab.demos import promises
from tallystick.lab.demos.audit import honest_refusals, replay_blocks, update_bytes
from tallystick.lab.demos.checks import Check, at_most, holds, same
from tallystick.provenance.lineage import descent
from tallystick.provenance.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.federation.run import Run
    from tallystick.lab.demos.result import Story

__all__ = ["record_checks"]


def record_checks(story: Story) -> Iterable[Check]:
    """Yield what every run must show, and measure what it cost."""
    run = story.run
    story.metrics |= {
        "seconds": round(run.seconds, 3),
        "seconds_per_round": round(run.seconds / max(1, story.world.rounds), 4),
        "rounds_completed": run.completed,
    }
    yield same(
        "task-done", run.status, "done", f"The task ended after {run.completed} completed rounds."
    )
    yield from _ledger(run)
    yield from _proofs(run)
    sizes = update_bytes(run.bundle)
    story.metrics["ledger_bytes_per_update"] = max(sizes, default=0)
    yield at_most(
        "ledger-bytes-per-update",
        max(sizes, default=None),
        promises.LEDGER_BYTES,
        f"Seal and reveal of an update are {max(sizes, default=0)} bytes on the ledger at most, "
        f"over {len(sizes)} updates.",
    )
    yield from _honest(story)


def _ledger(run: Run) -> Iterable[Check]:
    replica = replay_blocks(run.bundle)
    yield same(
        "supply-constant",
        len(replica.off),
        0,
        f"Balances, escrow, bonds and sink, row by row, add up to the supply in all "
        f"{replica.blocks} blocks.",
    )
    yield same(
        "second-replica",
        replica.state_root,
        run.state_root,
        "A second replica that executes the blocks from genesis ends with the same state root.",
    )


def _proofs(run: Run) -> Iterable[Check]:
    accepted = {found.id for made in descent(run.history) or () for found in made.inputs}
    refused = sorted({found.update for found in run.history.refusals} - accepted)
    report = verify(
        run.bundle,
        run.genesis,
        model=run.model_file,
        replay=True,
        blobs=run.out / "blobs",
        excludes=refused,
    )
    failed = {check.id: check.says for check in report.checks if not check.ok}
    ran = {check.id for check in report.checks}
    bundle = not failed.keys() - {"replay", "excludes"}
    yield holds(
        "bundle-verifies",
        bundle,
        next(iter(failed.values()), "The bundle verifies offline, model file included."),
    )
    yield holds(
        "replay-exact",
        "replay" in ran and "replay" not in failed,
        failed.get("replay", "Every attested output is computed again, bit for bit."),
    )
    if refused:
        yield holds(
            "exclusion-proved",
            "excludes" in ran and "excludes" not in failed,
            f"None of the {len(refused)} refused updates is in the model, shown from the bundle.",
        )
    if accepted:
        one = min(accepted)
        claim = verify(run.bundle, run.genesis, excludes=[one])
        wrong = [check for check in claim.checks if check.id == "excludes"]
        yield same(
            "exclusion-of-accepted-refused",
            not wrong or wrong[0].ok,
            expected=False,
            says="Asked whether an update that went in was left out, the bundle says no.",
        )


def _honest(story: Story) -> Iterable[Check]:
    world = story.world
    honest = honest_refusals(story.run, frozenset(world.attackers))
    story.metrics |= {
        "honest_updates": honest.sent,
        "honest_refused": honest.refused,
        "honest_refused_bps": round(10_000 * honest.refused_share),
        "worst_treated_member": honest.worst if honest.refused else None,
        "worst_treated_refused": honest.worst_refused,
        "worst_treated_updates": honest.worst_sent,
    }
    malicious = read_decisions(story.run.history, frozenset(world.attackers)).of(malicious=True)
    if malicious.sent:
        story.metrics["malicious_updates"] = malicious.sent
        story.metrics["malicious_accepted"] = malicious.sent - malicious.refused
    bound = promises.honest_bound(world)
    if bound is None or not honest.sent:
        return
    worst = (
        f"worst treated: {honest.worst}, {honest.worst_refused} of {honest.worst_sent}"
        if honest.refused
        else "nobody was treated worse than others"
    )
    yield at_most(
        "honest-refused",
        round(honest.refused_share, 9),
        round(math.ceil(bound * honest.sent) / honest.sent, 9),  # nothing between two updates
        f"{honest.refused} of {honest.sent} honest updates were refused; {worst}.",
    )
