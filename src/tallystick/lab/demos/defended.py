"""The story that ``standard`` and ``bflc`` tell: poisoners among clinics, and nothing comes of it.

The run itself, the same attackers against plain averaging, each poisoned update's round again
without it, and members who try what the ledger must refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.lab.attacks.attack import Attack, Composite
from tallystick.lab.attacks.sign_flip import SignFlip
from tallystick.lab.demos import promises
from tallystick.lab.demos.checks import Check, at_most, rounded
from tallystick.lab.demos.effect import measure_poison
from tallystick.lab.demos.probes import probe, probe_checks
from tallystick.lab.demos.result import Story
from tallystick.lab.demos.record import record_checks
from tallystick.lab.demos.world import build_world, scratch_folder, watch_rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallystick.federation.run import Run
    from tallystick.lab.demos.options import Demo, DemoOptions
    from tallystick.lab.demos.world import World

__all__ = ["measure_accuracy", "open_world", "poison_checks", "tell_defended"]

PLAIN = "chain-fl"  # everybody's update, averaged: what is left without a defence
COLLAPSE = 0.2  # how far below centralised training a broken model is at least


def tell_defended(demo: Demo, options: DemoOptions) -> Story:
    """Run the demo and measure everything its recipe promises."""
    world = open_world(demo, options)
    total = 4
    run = world.run(
        options.out,
        evaluate=True,
        durable=options.out is not None,
        watch=watch_rounds(options.progress, world.rounds),
        stage=demo.stage,
    )
    story = Story(world, run)
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
    bound = promises.gap_bound(world)
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
    with scratch_folder() as folder:
        plain = world.run(folder, recipe=PLAIN)
        undefended = world.measure(plain.model)
    story.metrics["accuracy_undefended"] = undefended
    if reverses_mean(world.attackers, len(world.members)):
        yield at_most(
            "undefended-collapses",
            undefended,
            rounded(world.centralised - COLLAPSE),
            f"Averaged without a defence, the same updates give {_percent(undefended)}.",
        )
    rows = len(world.judges)
    poison = measure_poison(world, story.run)
    story.metrics |= {
        "poisoned_updates": poison.sent,
        "poisoned_refused": poison.refused,
        "poisoned_worst_effect": poison.worst,
        "poisoned_worst_effect_rows": rows,
    }
    yield at_most(
        "poison-without-effect",
        rounded(poison.worst),
        promises.effect_bound(rows),
        f"{poison.refused} of {poison.sent} poisoned updates were refused; without any one of the "
        f"others, accuracy on {rows} rows would have moved by {100 * poison.worst:.2f} points "
        "at most.",
    )


def reverses_mean(attackers: Mapping[str, Attack], members: int) -> bool:
    """Whether the attackers' flips outweigh everybody else in a plain mean."""
    power = sum(
        part.power
        for attack in attackers.values()
        for part in (attack.attacks if isinstance(attack, Composite) else (attack,))
        if isinstance(part, SignFlip)
    )
    return power > members - len(attackers)


def _percent(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:.1f} %"
