"""What may be asked of a demo, and what a recipe's demo is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tallystick.lab.demos.checks import Check
    from tallystick.lab.demos.result import Story

__all__ = ["MOST_MEMBERS", "Demo", "DemoOptions", "silent"]

MOST_MEMBERS = 256
MOST_ROUNDS = 10_000


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""
    del what, done, total


@dataclass(frozen=True)
class DemoOptions:
    """A demo's settings; `None` means the demo's own.

    Attributes
    ----------
    data, target
        A bundled table's name or a CSV file, and the column to predict.
    partition
        ``iid`` or ``dirichlet:A``.
    attacks
        As the command line writes them, such as ``sign-flip:4=2``; they replace the demo's own.
    full, seeds
        Run the whole acceptance list over so many seeds, from ``seed`` on.
    network
        Run it on four nodes under CometBFT, in real time.
    out
        The run's folder; a temporary one by default.
    progress
        Called with what is being done, how far it is, and how far it will go.
    """

    recipe: str = "standard"
    seed: int = 0
    members: int | None = None
    rounds: int | None = None
    data: str | None = None
    target: str | None = None
    partition: str = "iid"
    attacks: list[str] | None = None
    full: bool = False
    seeds: int = 10
    network: bool = False
    out: Path | None = None
    progress: Callable[[str, int, int], None] = field(default=silent, compare=False, repr=False)


@dataclass(frozen=True)
class Demo:
    """A recipe's demo.

    Attributes
    ----------
    says
        One line for the list of demos.
    data, members, rounds
        What it runs on unless told otherwise.
    fewest
        The smallest consortium in which its stories make sense.
    kind
        What its members are called.
    attackers
        Who attacks by default, given the number of members.
    epochs
        Local epochs a round.
    tell
        The demo itself: options with nothing left open, to what it found.
    accept
        The acceptance list over several seeds.
    stage
        Changes to the recipe's stages.
    """

    recipe: str
    says: str
    data: str
    members: int
    rounds: int
    fewest: int
    kind: str
    attackers: Callable[[int], list[str]]
    epochs: int
    tell: Callable[[Demo, DemoOptions], Story]
    accept: Callable[[Demo, DemoOptions], list[Check]]
    stage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])

    def settle(self, options: DemoOptions) -> DemoOptions:
        """Return the options with nothing left open.

        Raises
        ------
        ConfigError
            A number that makes no sense; the message names it.
        """
        members = self.members if options.members is None else options.members
        rounds = self.rounds if options.rounds is None else options.rounds
        _check_number("members", members, self.fewest, MOST_MEMBERS, self.recipe)
        _check_number("rounds", rounds, 1, MOST_ROUNDS, self.recipe)
        _check_number("seed", options.seed, 0, 2**31 - 1, self.recipe)
        _check_number("seeds", options.seeds, 1, 1000, self.recipe)
        if options.network and options.full:
            msg = "--network runs one story, and --full many in virtual time"
            raise ConfigError(msg, hint="leave one of them out")
        if options.target is not None and options.data is None:
            msg = f"--target '{options.target}' names a column, but no --data file is given"
            raise ConfigError(msg, hint="--data FILE.csv --target COLUMN")
        attacks = self.attackers(members) if options.attacks is None else options.attacks
        return replace(
            options,
            recipe=self.recipe,
            members=members,
            rounds=rounds,
            data=options.data or self.data,
            attacks=list(attacks),
        )


def _check_number(name: str, value: object, least: int, most: int, recipe: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        msg = f"--{name} is {value}: the demo of '{recipe}' takes {least} to {most}"
        raise ConfigError(msg)
