"""What an attacker knows, written down beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tallystick.mechanisms.records import Subject

ROOT, OLD = b"\x07" * 32, b"\x06" * 32

# A model with whole numbers, a tensor without elements, and one without axes.
PARENT = {
    "b": np.array([1.0, -2.0], np.float32),
    "none": np.zeros((0, 3), np.float32),
    "small": np.array([100, -100], np.int8),
    "steps": np.array(3),
    "w": np.eye(2, dtype=np.float32),
}
MEMBERS = ("a", "b", "c", "d", "e", "f")


def update(seed=None, scale=1.0, parent=None):
    """Return an update drawn from a seed, of the model's shapes; zeros without one."""
    parent = PARENT if parent is None else parent
    dice = np.random.default_rng(0 if seed is None else seed)
    return {
        name: np.asarray((0.0 if seed is None else scale) * dice.normal(size=array.shape))
        for name, array in parent.items()
    }


@dataclass
class Known:
    """A `Knowledge` of given updates; those of the round that is sealed stand under ``honest``."""

    member: str = "e"
    allied: frozenset = frozenset({"e", "f"})
    parent: tuple = (ROOT, 640)
    last: tuple = ()
    own: dict = field(default_factory=dict)
    before: dict = field(default_factory=dict)
    honest: dict = field(default_factory=dict)

    def allies(self):
        return self.own

    def revealed(self):
        return self.before

    def everybody(self):
        return self.honest


def known(member="e", **changes):
    """Return the knowledge of one of two colluders among six members in the second round."""
    given = {
        "own": {name: update(seed) for seed, name in enumerate("ef", 5)},
        "before": {name: update(seed) for seed, name in enumerate(MEMBERS, 10)},
        "honest": {name: update(seed) for seed, name in enumerate("abcd", 20)},
        "last": tuple(
            Subject(bytes([at]) * 32, name, columns=(640, 1), parent=OLD)
            for at, name in enumerate(MEMBERS, 1)
        ),
    }
    return Known(member, **{**given, **changes})


NOTHING = Known()
