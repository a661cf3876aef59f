"""Demos: a consortium on real data, and its recipe's promises turned into checks that can fail."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from tallystick.errors import ConfigError
from tallystick.lab.demos.checks import Check
from tallystick.lab.demos.options import Demo, DemoOptions
from tallystick.lab.demos.result import DemoResult

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Check", "Demo", "DemoOptions", "DemoResult", "list_demos", "run_demo"]


@cache
def list_demos() -> Mapping[str, Demo]:
    """Return every recipe's demo by the recipe's name, in name order.

    A module of this package that has a ``DEMO`` is one; nothing else need be edited to add one.
    """
    found: dict[str, Demo] = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        demo = getattr(module, "DEMO", None)
        if isinstance(demo, Demo):
            found[demo.recipe] = demo
    return MappingProxyType({name: found[name] for name in sorted(found)})


def run_demo(options: DemoOptions) -> DemoResult:
    """Run a demo and return what it found.

    Raises
    ------
    ConfigError
        No such demo, or a setting that does not fit; the message names it.
    MissingExtraError
        scikit-learn is not installed.
    """
    name, _, version = options.recipe.partition("/")
    demo = list_demos().get(name)
    if demo is None or version not in {"", "1"}:
        msg = f"there is no demo of '{options.recipe}'"
        raise ConfigError(msg, hint=f"demos: {', '.join(list_demos())}")
    settled = demo.settle(options)
    story = demo.tell(demo, settled)
    checks = tuple(story.checks)
    if settled.full:
        checks = tuple(demo.accept(demo, settled))
    return DemoResult(
        options=replace(settled, out=story.run.out),
        run=story.run,
        checks=checks,
        metrics=story.metrics,
        attackers={name: each.label for name, each in sorted(story.world.attackers.items())},
        network=story.network,
    )
