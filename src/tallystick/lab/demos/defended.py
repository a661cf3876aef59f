"""The story that ``standard`` and ``bflc`` tell: poisoners among clinics, and nothing comes of it.

The run itself, the same attackers against plain averaging, each poisoned update's round again
without it, and members who try what the ledger must refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.sign_flip import SignFlip
from tallystick.lab.demos import promises
from tallystick.lab.demos.checks import Check, at_least, at_most, rounded
from tallystick.lab.demos.effect import measure_poison
from tallystick.lab.demos.network import run_story
from tallystick.lab.demos.probes import probe, probe_checks
from tallystick.lab.demos.record import record_checks
from tallystick.lab.demos.world import build_world, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallystick.lab.demos.options import Demo, DemoOptions
    from tallystick.lab.demos.result import Story
    from tallystick.lab.demos.world import World

__all__ = ["measure_accuracy", "open_world", "poison_checks", "tell_defended"]

PLAIN = "chain-fl"  # everybody's update, averaged: what is left without a defence


def tell_defended(demo: Demo, options: DemoOptions) -> Story:
    """Run the demo and measure everything its recipe promises."""
    world = open_world(demo, options)
    total = 4
    story = run_story(world, options, stage=demo.stage)
    options.progress("checking", 1, total)
    story.checks += measure_accuracy(story)
    story.checks += poison_checks(story)
    options.progress("checking", 2, total)
    story.checks += record_checks(story)
    options.progress("checking", 3, total)
    story.checks += probe_checks(probe(world), world)
    options.progress("checking", total, total)
    return story


def open_world(demo: Demo, options: DemoOptions, **changes: Any) -> World:  # noqa: ANN401
    """Return the world that settled options describe."""
    asked: dict[str, Any] = {
        "members": options.members,
        "rounds": options.rounds,
        "seed": options.seed,
        "data": options.data,
        "target": options.target,
        "partition": options.partition,
        "attacks": options.attacks,
        "kind": demo.kind,
        "epochs": demo.epochs,
    }
    return build_world(demo.recipe, **{**asked, **changes})


def measure_accuracy(story: Story) -> Iterable[Check]:
    """Yield how the model compares with one owner of all rows."""
    world = story.world
    accuracy, central = world.measure(story.run.model), world.centralised
    story.metrics |= {
        "accuracy": accuracy,
        "accuracy_centralised": central,
        "metric": world.metric,
    }
    success = world.backdoor_success(story.run.model)
    if success is not None:
        story.metrics["backdoor_success"] = success
    bound = promises.gap_bound(world)
    if bound is None and not world.poisoners and central - world.constant >= promises.COLLAPSE:
        yield at_least(
            "better-than-guessing",
            accuracy,
            rounded((central + world.constant) / 2),
            f"{_percent(accuracy)} {world.metric} on rows nobody holds, at least half the way from "
            f"guessing ({_percent(world.constant)}) to one owner of all rows "
            f"({_percent(central)}).",
        )
    if bound is not None:
        yield at_most(
            "accuracy-near-centralised",
            None if accuracy is None else rounded(central - accuracy),
            bound,
            f"{_percent(accuracy)} {world.metric} on rows nobody holds; one owner of all rows "
            f"would reach {_percent(central)}.",
        )


def poison_checks(story: Story) -> Iterable[Check]:
    """Yield what the poisoners achieved, here and against plain averaging."""
    world = story.world
    if not world.poisoners:
        return
    yield from _against_averaging(story)
    rows = len(world.judges)
    poison = measure_poison(world, story.run)
    story.metrics |= {
        "poisoned_updates": poison.sent,
        "poisoned_refused": poison.refused,
        "poisoned_worst_effect": poison.worst,
        "poisoned_worst_effect_rows": rows,
    }
    if promises.is_measured(world) and promises.is_without_effect(world.attackers.values()):
        yield at_most(
            "poison-without-effect",
            rounded(poison.worst),
            promises.EFFECT,
            f"{poison.refused} of {poison.sent} poisoned updates were refused; without any one of "
            f"the others, accuracy on {rows} rows would have moved by {100 * poison.worst:.2f} "
            "points at most.",
        )


def _against_averaging(story: Story) -> Iterable[Check]:
    """Yield how plain averaging fares with the same attackers, and without them."""
    world = story.world
    with scratch_folder() as folder:
        undefended = world.measure(world.run(folder, recipe=PLAIN).model)
    story.metrics["accuracy_undefended"] = undefended
    own, central = story.metrics["accuracy"], story.metrics["accuracy_centralised"]
    measured = promises.is_measured(world)
    # Unevenly dealt, attackers may hold too little to outweigh anybody.
    even = world.partition == "iid" and reverses_mean(world.attackers, len(world.members))
    if even and own is not None:
        learnable = central - world.constant >= promises.COLLAPSE
        if measured or learnable:
            yield at_most(
                "undefended-collapses",
                undefended,
                rounded((central if measured else own + promises.COLLAPSE / 2) - promises.COLLAPSE),
                f"Averaged without a defence, the same updates give {_percent(undefended)}.",
            )
    bound = promises.loss_bound(world)
    if bound is None:
        return
    honest = world.honest
    with scratch_folder() as folder:
        clean = honest.measure(honest.run(folder, recipe=PLAIN).model, world.judges)
    kept = world.measure(story.run.model, world.judges)
    story.metrics["accuracy_without_attackers"] = clean
    yield at_most(
        "attack-costs-little",
        None if clean is None or kept is None else rounded(clean - kept),
        bound,
        f"Plain averaging of the same members, all honest, gives {_percent(clean)} "
        f"{world.metric} on {len(world.judges)} rows; this run gives {_percent(kept)}.",
    )


def reverses_mean(attackers: Mapping[str, Attack], members: int) -> bool:
    """Whether the attackers' flips outweigh everybody else in a plain mean."""
    power = sum(
        part.power
        for attack in attackers.values()
        for part in attack.parts
        if isinstance(part, SignFlip)
    )
    return power > members - len(attackers)


def _percent(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:.1f} %"
