"""``bflc``: a drawn committee scores every update, and one of its possible members lies."""

from __future__ import annotations

from tallystick.lab.demos.acceptance_bflc import accept_bflc
from tallystick.lab.demos.defended import tell_defended
from tallystick.lab.demos.options import Demo
from tallystick.lab.demos.standard import FLIP, flippers

__all__ = ["DEMO"]


def _attackers(members: int) -> list[str]:
    count = flippers(members)
    plain = [f"{FLIP}={count - 1}"] if count > 1 else []
    return [*plain, f"{FLIP}+lying-scorer=1"] if count else ["none=0"]


DEMO = Demo(
    recipe="bflc",
    says="a committee drawn each round scores the others' updates on its own data; one scorer lies",
    data="breast_cancer",
    members=8,
    rounds=10,
    fewest=5,
    kind="clinic",
    attackers=_attackers,
    epochs=24,
    tell=tell_defended,
    accept=accept_bflc,
    # Both attackers may be among five trainers: two of five is the tolerance this task declares.
    stage={"decide": {"tolerance_bps": 4000}},
)
