"""From a table to a consortium: members with their rows, trainers, attackers, and the runs.

One seed drives everything: how the rows are split and dealt, the members' keys and salts, training
and the attackers' dice. So every number of a demo can be had again.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.federation.recipes import Recipe, load_recipe
from tallystick.federation.run import Run, simulate
from tallystick.federation.task_file import Task
from tallystick.lab.attacks.attack import POISONING, Attack
from tallystick.lab.attacks.backdoor import Backdoor, backdoor_success
from tallystick.lab.attacks.registry import assign, parse_attack
from tallystick.lab.datasets import BUNDLED, load_table, split
from tallystick.lab.partitions import partition
from tallystick.lab.table_trainer import (
    DEFAULTS,
    TableTrainer,
    initial_parameters,
    score_name,
    train_centralised,
)
from tallystick.ledger.collect.rows import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from tallystick.federation.conduct import Conduct
    from tallystick.federation.simulation import Federation
    from tallystick.lab.datasets import Table

__all__ = [
    "World",
    "build_world",
    "member_names",
    "scratch_folder",
    "watch_rounds",
]

ATTACK_DICE = 3  # keeps the attackers' generator apart from those that split and deal rows
TASK = "demo"
FINE = 400  # test rows from which on one is worth a quarter of a point at most


@dataclass(frozen=True)
class World:
    """Who takes part in a demo, with what data and what intentions.

    Attributes
    ----------
    train, test
        All members' rows together, and rows that nobody holds.
    attackers
        What each dishonest member does, by name.
    plans
        The same as the command line writes it.
    epochs
        Local epochs a round.
    """

    recipe: str
    seed: int
    rounds: int
    data: str
    target: str | None
    partition: str
    train: Table
    test: Table
    members: tuple[str, ...]
    attackers: Mapping[str, Attack]
    plans: tuple[str, ...]
    epochs: int = int(DEFAULTS["epochs"])

    @cached_property
    def trainers(self) -> dict[str, TableTrainer]:
        """Each member's trainer, on its own rows; some attackers spoil theirs first."""
        shards = partition(self.train, self.members, self.partition, self.seed)
        return {name: TableTrainer(self._spoiled(name, shards[name])) for name in self.members}

    @cached_property
    def shipped(self) -> Recipe:
        """The recipe as shipped."""
        return load_recipe(self.recipe)

    @property
    def poisoners(self) -> frozenset[str]:
        """The attackers whose updates are not honest work."""
        return frozenset(
            name for name, attack in self.attackers.items() if attack.overrides(*POISONING)
        )

    @property
    def honest(self) -> World:
        """The same members and data, and nobody attacks."""
        return replace(self, attackers={}, plans=())

    @property
    def constant(self) -> float:
        """What always giving the same answer is worth."""
        if self.test.classes is None:
            return 0.0
        return float(np.bincount(self.test.y).max()) * self.one_row

    @property
    def metric(self) -> str:
        """What accuracy means here: ``accuracy``, or ``r2`` for quantities."""
        return score_name(self.train)

    @property
    def settings(self) -> dict[str, Any]:
        """What trainers find in ``config``.

        Least squares diverge beyond 2 / |x|², which standardised rows have near their width.
        """
        settings: dict[str, Any] = {**DEFAULTS, "epochs": self.epochs, **self.shipped.train}
        if self.train.classes is None:
            settings["lr"] = min(settings["lr"], 0.5 / (1 + self.train.x.shape[1]))
        return settings

    @cached_property
    def judges(self) -> Table:
        """The rows that small effects are measured on.

        Those nobody holds, if a single one is worth a quarter of a point at most; else all rows.
        """
        if len(self.test) >= FINE:
            return self.test
        both = ((getattr(self.train, side), getattr(self.test, side)) for side in ("x", "y"))
        x, y = (np.concatenate(parts) for parts in both)
        return replace(self.test, x=x, y=y)

    @property
    def one_row(self) -> float:
        """How much accuracy a single test row is worth."""
        return 1 / len(self.test)

    def task(self, **changes: Any) -> Task:  # noqa: ANN401 - any key of a task
        """Return the task, with some of its keys replaced."""
        simulate_table: dict[str, Any] = {
            "data": self.data,
            **({"target": self.target} if self.target else {}),
            "members": list(self.members),
            "partition": self.partition,
            "attacks": list(self.plans),
            "seed": self.seed,
        }
        task = Task(
            name=TASK,
            recipe=self.recipe,
            rounds=self.rounds,
            score=self.metric,
            train=self.settings,
            simulate=simulate_table,
        )
        return replace(task, **changes)

    def run(
        self,
        out: Path | None = None,
        *,
        conduct: Mapping[str, Conduct] | None = None,
        outsiders: tuple[str, ...] = (),
        watch: Callable[[Federation], None] | None = None,
        evaluate: bool = False,
        durable: bool = False,
        **changes: Any,  # noqa: ANN401 - any key of a task
    ) -> Run:
        """Run the task; ``conduct`` replaces the attackers, ``changes`` keys of the task."""
        return simulate(
            self.task(**changes),
            self.trainers,
            initial=initial_parameters(self.train),
            seed=self.seed,
            out=out,
            conduct=dict(self.attackers) if conduct is None else conduct,
            outsiders=outsiders,
            durable=durable,
            evaluate=evaluate,
            watch=watch,
        )

    def measure(
        self, parameters: Mapping[str, np.ndarray] | None, table: Table | None = None
    ) -> float | None:
        """Return a model's accuracy (or r²) on a table, by default the rows that nobody holds."""
        if parameters is None:
            return None
        rows = self.test if table is None else table
        return TableTrainer(rows).evaluate(parameters, {})[0][self.metric]

    def backdoor_success(self, parameters: Mapping[str, np.ndarray] | None) -> float | None:
        """Return the share of rows nobody holds that a trigger misleads; `None` without one.

        The first attacker's trigger, by name, where several differ.
        """
        for _, attack in sorted(self.attackers.items()):
            for part in attack.parts:
                if isinstance(part, Backdoor) and parameters is not None:
                    return backdoor_success(parameters, self.test, part.power)
        return None

    @cached_property
    def centralised(self) -> float:
        """What one owner of all rows would reach with as many epochs."""
        epochs = self.rounds * self.epochs
        rate = min(self.settings["lr"], DEFAULTS["lr"])  # it needs no steps that noise outlives
        config = {**self.settings, "lr": rate, "seed": self.seed}
        return train_centralised(self.train, self.test, epochs, config)[1][self.metric]

    def _spoiled(self, name: str, shard: Table) -> Table:
        attack = self.attackers.get(name)
        if attack is None:
            return shard
        generator = np.random.default_rng([self.seed, ATTACK_DICE, self.members.index(name)])
        x, y = attack.poison_data(shard.x, shard.y, shard.classes, generator)
        return replace(shard, x=x, y=y)


def build_world(
    recipe: str,
    *,
    members: int,
    rounds: int,
    seed: int,
    data: str,
    target: str | None = None,
    partition: str = "iid",
    attacks: list[str] | None = None,
    kind: str = "clinic",
    epochs: int = int(DEFAULTS["epochs"]),
) -> World:
    """Load the data and hand out the roles.

    Raises
    ------
    ConfigError
        No such table, too few rows, an unknown attack or more attackers than members; names it.
    MissingExtraError
        A bundled table without scikit-learn.
    """
    plans = [parse_attack(text) for text in attacks or []]
    names = member_names(kind, members)
    attackers = assign(plans, names)
    train, test = split(load_table(data, target), seed)
    world = World(
        recipe=recipe,
        seed=seed,
        rounds=rounds,
        data=data if data in BUNDLED else str(Path(data).resolve()),
        target=target,
        partition=partition,
        train=train,
        test=test,
        members=names,
        attackers=attackers,
        plans=tuple(plan.label for plan in plans if plan.count),
        epochs=epochs,
    )
    _ = world.trainers  # too few rows or an unknown partition should show now
    return world


def member_names(kind: str, count: int) -> tuple[str, ...]:
    """Return names that sort by their number."""
    width = len(str(count))
    return tuple(f"{kind}-{number:0{width}}" for number in range(1, count + 1))


@contextmanager
def scratch_folder() -> Generator[Path]:
    """Yield a folder for a side run, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tally-side-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def watch_rounds(
    progress: Callable[[str, int, int], None], rounds: int
) -> Callable[[Federation], None]:
    """Return a watcher that reports which round a federation is in."""
    seen = -1

    def watch(federation: Federation) -> None:
        nonlocal seen
        for task in federation.engine.state.get(LIVE) or ():
            number = min(federation.row(task).round, rounds + 1)
            if number > seen:
                seen = number
                progress("training", max(0, number - 1), rounds)

    return watch
