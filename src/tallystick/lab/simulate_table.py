"""The ``[simulate]`` table of a task file: who plays the members, on which data, with what intent.

It is no part of the terms. Either the rows of a table are dealt to members that train on them::

    [simulate]
    members = 8                      # a number, or a list of names
    data = "breast_cancer"           # a bundled table, or a CSV file beside the task file
    target = "outcome"               # the CSV file's column to predict
    partition = "iid"                # or dirichlet:A
    attacks = ["sign-flip:4=2"]      # who attacks how
    seed = 0

or every member has a trainer of the reader's own, made with the arguments of its site::

    [simulate]
    trainer = "hospital:Hospital"    # MODULE:CLASS, looked for beside the task file first
    members = ["north", "south"]

    [simulate.sites]
    north = {data = "north.csv"}
    south = {data = "south.csv"}

A member without arguments gets its name as the only one. An argument that names a file or folder
beside the task file is passed on by its full path; ``path`` names another folder to look in.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError
from tallystick.federation.locate import located
from tallystick.federation.task_file import Task
from tallystick.lab.attacks.registry import assign, parse_attack
from tallystick.lab.datasets import BUNDLED, load_table, split
from tallystick.lab.demos.world import World, member_names
from tallystick.lab.partitions import partition
from tallystick.lab.table_trainer import check_settings, initial_parameters

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from tallystick.lab.attacks.attack import Attack

__all__ = ["DATA", "KEYS", "MEMBERS", "Cast", "cast_task", "load_cast", "make_trainer"]

KEYS = (
    "members",
    "data",
    "target",
    "partition",
    "attacks",
    "seed",
    "trainer",
    "sites",
    "isolate",
    "path",
)
TABLE_KEYS = ("data", "target", "partition")
MEMBERS, DATA = 8, "breast_cancer"
MOST_MEMBERS = 256
KIND = "member"
MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Cast:
    """A task and everybody who plays in its simulation.

    Attributes
    ----------
    task
        With the seed that is used and data by their full paths, so that it runs from anywhere.
    sites
        Each member's trainer.
    initial
        What everybody starts from; `None` leaves it to the first trainer.
    world
        Held-out rows to measure on; `None` where members bring their own trainers.
    """

    task: Task
    seed: int
    sites: Mapping[str, object]
    initial: object
    attackers: Mapping[str, Attack]
    isolate: bool = False
    world: World | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Everybody's names, sorted."""
        return tuple(sorted(self.sites))


def load_cast(path: str | Path, *, seed: int | None = None, rounds: int | None = None) -> Cast:
    """Read a task file and get its players together.

    Parameters
    ----------
    seed, rounds
        Replace the file's own.

    Raises
    ------
    ConfigError
        The file or its table is wrong: names the line and the key.
    """
    task = Task.load(path)
    if rounds is not None:
        task = replace(task, rounds=rounds)
    try:
        return cast_task(task, Path(path).resolve().parent, seed=seed)
    except ConfigError as error:
        raise located(path, error) from error


def cast_task(task: Task, folder: Path, *, seed: int | None = None) -> Cast:
    """Return the players of a task's simulation.

    Parameters
    ----------
    folder
        What relative paths and modules are looked for in first.

    Raises
    ------
    ConfigError
        The table contradicts itself or names something that does not exist.
    """
    table = dict(task.simulate)
    for key in table:
        if key not in KEYS:
            msg = f"unknown key '{key}' in [simulate]"
            raise ConfigError(msg, hint=f"known: {', '.join(KEYS)}")
    chosen = _number(table, "seed", 0, MOST_SEED) if seed is None else seed
    if not 0 <= chosen <= MOST_SEED:
        msg = f"--seed {chosen}: 0 to {MOST_SEED}"
        raise ConfigError(msg)
    table["seed"] = chosen
    folder = (folder / _text(table, "path", ".")).resolve()
    names = _names(table)
    plans = [parse_attack(text) for text in _texts(table, "attacks")]
    attackers = assign(plans, names)
    isolate = table.get("isolate", False)
    if not isinstance(isolate, bool):
        msg = "key 'isolate' in [simulate] is true or false"
        raise ConfigError(msg)
    if "trainer" in table:
        table["path"] = str(folder)
        sites = _own_trainers(table, names, attackers, folder)
        asked = replace(task, simulate=table)
        return Cast(asked, chosen, sites, None, attackers, isolate)
    if "sites" in table:
        msg = "key 'sites' in [simulate] goes with a trainer"
        raise ConfigError(msg)
    table.pop("path", None)
    check_settings(task.train)
    asked, world = _world(task, table, names, attackers, folder)
    initial = initial_parameters(world.train)
    return Cast(asked, chosen, world.trainers, initial, attackers, isolate, world)


def _world(
    task: Task,
    table: dict[str, Any],
    names: tuple[str, ...],
    attackers: Mapping[str, Attack],
    folder: Path,
) -> tuple[Task, World]:
    """Deal a table's rows to the members."""
    data = _text(table, "data", DATA)
    target = _text(table, "target", "") or None
    kind = _text(table, "partition", "iid")
    if data not in BUNDLED:
        path = (folder / data).resolve()
        if not path.is_file():
            msg = f"no data set and no file is named '{data}'"
            raise ConfigError(msg, hint=f"bundled: {', '.join(BUNDLED)}; or a CSV file")
        data = str(path)
    train, test = split(load_table(data, target), table["seed"])
    world = World(
        recipe=task.recipe,
        seed=table["seed"],
        rounds=task.rounds,
        data=data,
        target=target,
        partition=kind,
        train=train,
        test=test,
        members=names,
        attackers=attackers,
        plans=tuple(_texts(table, "attacks")),
    )
    partition(train, names, kind, table["seed"])  # so that a wrong one is refused here
    table["data"] = data
    return replace(task, simulate=table), world


def _own_trainers(
    table: dict[str, Any],
    names: tuple[str, ...],
    attackers: Mapping[str, Attack],
    folder: Path,
) -> dict[str, object]:
    """Make every member's trainer."""
    for key in TABLE_KEYS:
        if key in table:
            msg = f"key '{key}' in [simulate] has no meaning beside a trainer"
            raise ConfigError(msg, hint="give the trainers their data under [simulate.sites]")
    spoiled = sorted(
        {attack.label for attack in attackers.values() if attack.overrides("poison_data")}
    )
    if spoiled:
        msg = f"attack '{spoiled[0]}' changes a table's rows, and there are none beside a trainer"
        raise ConfigError(msg, hint="choose an attack on updates, such as sign-flip")
    sites = table.get("sites", {})
    if not isinstance(sites, dict):
        msg = "key 'sites' in [simulate] is not a table"
        raise ConfigError(msg, hint="[simulate.sites] with a line NAME = {ARGUMENT = VALUE} each")
    strangers = sorted(set(sites) - set(names))
    if strangers:
        msg = f"[simulate.sites] names '{strangers[0]}', who is no member"
        raise ConfigError(msg, hint=f"members: {', '.join(names)}")
    for name, arguments in sites.items():
        if not isinstance(arguments, dict):
            msg = f"site '{name}' in [simulate.sites] is not a table"
            raise ConfigError(msg, hint=f"{name} = {{ARGUMENT = VALUE}}")
    kind = _import_class(_text(table, "trainer", ""), folder)
    given = {name: _with_paths(arguments, folder) for name, arguments in sites.items()}
    if given:
        table["sites"] = given
    return {name: _make(kind, name, given.get(name), folder) for name in names}


def make_trainer(text: str, arguments: dict[str, Any], folder: Path) -> object:
    """Return a trainer made from ``MODULE:CLASS`` with arguments, looked for in a folder first.

    Raises
    ------
    ConfigError
        It cannot be imported or made.
    """
    return _make(_import_class(text, folder), "this site", arguments, folder)


def _with_paths(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return arguments with those that name something in ``folder`` by their full path."""
    return {
        name: str((folder / value).resolve())
        if isinstance(value, str) and value and (folder / value).exists()
        else value
        for name, value in arguments.items()
    }


def _make(
    kind: Any,  # noqa: ANN401 - whatever the module holds
    name: str,
    arguments: dict[str, Any] | None,
    folder: Path,
) -> object:
    """Return one member's trainer; its constructor may import what lies beside the task file."""
    try:
        with _beside(folder):
            return kind(name) if arguments is None else kind(**arguments)
    except ConfigError:
        raise
    except Exception as error:  # somebody else's code may raise anything
        msg = f"trainer '{kind.__name__}' of '{name}' cannot be made: {error!r}"
        raise ConfigError(msg) from error


def _import_class(text: str, folder: Path) -> Any:  # noqa: ANN401 - whatever the module holds
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        msg = f"the trainer is named '{text}'"
        raise ConfigError(msg, hint="MODULE:CLASS, such as hospital:Hospital")
    try:
        with _beside(folder):
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
    except Exception as error:  # somebody else's code may raise anything
        msg = f"trainer '{text}' cannot be imported: {error!r}"
        raise ConfigError(msg, hint=f"the module is looked for in {folder} first") from error
    if not callable(found):
        msg = f"trainer '{text}' is no class"
        raise ConfigError(msg)
    return found


@contextmanager
def _beside(folder: Path) -> Generator[None]:
    """Find modules beside the task file first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _names(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the members' names: as listed, as sites are named, or numbered."""
    sites = table.get("sites")
    default: Any = list(sites) if isinstance(sites, dict) and sites else MEMBERS
    members = table.get("members", default)
    if isinstance(members, int) and not isinstance(members, bool):
        if not 1 <= members <= MOST_MEMBERS:
            msg = f"key 'members' in [simulate] is {members}: 1 to {MOST_MEMBERS}"
            raise ConfigError(msg)
        return member_names(KIND, members)
    if not isinstance(members, list) or not all(isinstance(name, str) for name in members):
        msg = "key 'members' in [simulate] is neither a number nor a list of names"
        raise ConfigError(msg)
    if not 1 <= len(set(members)) == len(members) <= MOST_MEMBERS:
        msg = f"key 'members' in [simulate] names nobody, somebody twice or over {MOST_MEMBERS}"
        raise ConfigError(msg)
    return tuple(members)


def _text(table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        msg = f"key '{key}' in [simulate] is no text"
        raise ConfigError(msg)
    return value


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        msg = f"key '{key}' in [simulate] is no list of texts"
        raise ConfigError(msg)
    return value


def _number(table: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = table.get(key, least)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        msg = f"key '{key}' in [simulate] is {value!r}: {least} to {most}"
        raise ConfigError(msg)
    return value
