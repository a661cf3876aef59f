"""What a sweep is made of: every recipe under every attack, on every table, dealt in every way.

A `Sweep` is what somebody asks for, a `Cell` one combination under one seed. Both are plain values:
a cell travels to another process or machine and is described to the last setting, so that its
result can be kept under the hash of that description.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick import __version__
from tallystick.errors import ConfigError
from tallystick.federation.recipes import recipe_names, recipe_text
from tallystick.lab.attacks.registry import parse_attack
from tallystick.lab.datasets import BUNDLED
from tallystick.lab.demos.options import MOST_MEMBERS, MOST_ROUNDS
from tallystick.lab.demos.world import build_world
from tallystick.lab.table_trainer import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.lab.demos.world import World

__all__ = ["Cell", "Sweep", "describe_data", "plan_sweep"]

KIND = "site"
MOST_SEEDS = 1000
MOST_SEED = 2**31 - 1
THIRD = 3
# The training setting of the measurements that the recipes were chosen by, the same for all of
# them: a recipe's demo may train longer, which would compare epochs instead of recipes.
EPOCHS = int(DEFAULTS["epochs"])


@dataclass(frozen=True, slots=True)
class Data:
    """A table: its name or file, the column to predict, and the file's SHA-256."""

    name: str
    target: str | None = None
    sha256: str = ""

    @property
    def label(self) -> str:
        """What tables call it: a bundled table's name, or the file's without its folder."""
        return Path(self.name).name

    def check(self) -> None:
        """Refuse a file that is not the one the sweep was planned with.

        Raises
        ------
        ConfigError
            It is not here, or holds something else.
        """
        if self.sha256 and describe_data(self.name, self.target) != self:
            msg = f"'{self.name}' is not the file that the sweep was planned with"
            raise ConfigError(msg, hint="restore it, or name another --out")


@dataclass(frozen=True, slots=True)
class Cell:
    """One recipe under one attack, on one table dealt in one way, under one seed.

    Attributes
    ----------
    attack
        As the command line writes it: ``sign-flip:4=6``.
    epochs
        Local epochs a round.
    version
        Of this package: another one may compute something else.
    """

    recipe: str
    attack: str
    data: Data
    partition: str
    members: int
    rounds: int
    seed: int
    epochs: int = EPOCHS
    version: str = __version__

    @property
    def key(self) -> str:
        """What its result is kept under: the hash of its whole description, in hex."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def world(self) -> World:
        """Return the members with their rows and intentions.

        Raises
        ------
        ConfigError
            The attack, the table and the number of members do not fit; the message names it.
        MissingExtraError
            A bundled table without scikit-learn.
        """
        self.data.check()
        return build_world(
            self.recipe,
            members=self.members,
            rounds=self.rounds,
            seed=self.seed,
            data=self.data.name,
            target=self.data.target,
            partition=self.partition,
            attacks=[self.attack],
            kind=KIND,
            epochs=self.epochs,
        )


@dataclass(frozen=True)
class Sweep:
    """Everything that is combined with everything, in the order of its tables and plots."""

    recipes: tuple[str, ...]
    attacks: tuple[str, ...]
    data: tuple[Data, ...]
    partitions: tuple[str, ...]
    members: int
    rounds: int
    seeds: tuple[int, ...]
    version: str = field(default=__version__)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every combination in canonical order: recipe, attack, data, partition, seed."""
        lists = (self.recipes, self.attacks, self.data, self.partitions, self.seeds)
        return tuple(
            Cell(recipe, attack, data, partition, self.members, self.rounds, seed)
            for recipe, attack, data, partition, seed in product(*lists)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the description that marks the sweep's folder."""
        return asdict(self)

    @classmethod
    def parse(cls, found: dict[str, Any]) -> Sweep:
        """Return the sweep that `to_json` described; raises what a wrong shape raises."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in found.items()
        }
        fields["data"] = tuple(Data(**each) for each in found["data"])
        return cls(**fields)


def plan_sweep(
    recipes: Sequence[str],
    attacks: Sequence[str],
    data: Sequence[str],
    partitions: Sequence[str],
    *,
    target: str | None = None,
    members: int = 20,
    rounds: int = 30,
    seeds: int = 5,
    seed: int = 0,
) -> Sweep:
    """Return the sweep that a command line asks for; empty lists stand for the usual ones.

    By default all recipes meet nobody's attack, and a third less one of the members who flip signs
    fourfold, send noise, or flip labels.

    Raises
    ------
    ConfigError
        A name or number that does not exist or makes no sense.
    """
    for name, value, least, most in (
        ("members", members, 2, MOST_MEMBERS),
        ("rounds", rounds, 1, MOST_ROUNDS),
        ("seeds", seeds, 1, MOST_SEEDS),
        ("seed", seed, 0, MOST_SEED - seeds + 1),
    ):
        if not least <= value <= most:
            msg = f"--{name} is {value}: a sweep takes {least} to {most}"
            raise ConfigError(msg)
    third = (members - 1) // THIRD
    usual = [f"{name}={third}" for name in ("sign-flip:4", "gaussian:1", "label-flip") if third]
    names = list(recipes) or list(recipe_names())
    for name in names:
        recipe_text(name)
    tables = _once(describe_data(name, target) for name in data or ["digits"])
    if len({table.label for table in tables}) < len(tables):
        msg = "two data files have the same name, and tables could not tell them apart"
        raise ConfigError(msg, hint="rename one of them")
    return Sweep(
        recipes=_once(name.partition("/")[0] for name in names),
        attacks=_once(parse_attack(text).label for text in attacks or ["none=0", *usual]),
        data=tables,
        partitions=_once(partitions or ["iid"]),
        members=members,
        rounds=rounds,
        seeds=tuple(range(seed, seed + seeds)),
    )


def describe_data(name: str, target: str | None = None) -> Data:
    """Return a bundled table's or a file's description; raises `ConfigError` for neither."""
    if name in BUNDLED:
        return Data(name)
    try:
        digest = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        msg = f"no data set and no file is named '{name}'"
        raise ConfigError(msg, hint=f"bundled: {', '.join(BUNDLED)}; or a CSV file") from None
    return Data(str(Path(name).resolve()), target, digest)


def _once(items: Any) -> tuple[Any, ...]:  # noqa: ANN401 - names, or descriptions of data
    """Return the items without repetitions, in their order."""
    return tuple(dict.fromkeys(items))
