"""Attacks by name, and the command line's grammar for who attacks how.

``NAME[:STRENGTH][+NAME[:STRENGTH]…]=COUNT``: ``sign-flip:4=2`` makes two members flip signs,
``sign-flip:4+lying-scorer=1`` gives one member both, ``none=0`` is nobody. A module beside this one
holds each attack; nothing else need be edited to add one.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from tallystick.errors import ConfigError
from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.composite import Composite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NONE", "Plan", "all_attacks", "assign", "make_attack", "parse_attack"]

NONE = "none"
GRAMMAR = "NAME[:STRENGTH][+NAME[:STRENGTH]…]=COUNT, such as sign-flip:4=2; none=0 for nobody"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many members attack, and how; each of them carries out all of ``attacks``."""

    attacks: tuple[Attack, ...]
    count: int

    @property
    def label(self) -> str:
        """The plan as the command line writes it, with the default strengths left out."""
        return f"{'+'.join(attack.label for attack in self.attacks) or NONE}={self.count}"

    @property
    def attack(self) -> Attack:
        """What one of its members does."""
        return self.attacks[0] if len(self.attacks) == 1 else Composite(attacks=self.attacks)


@cache
def all_attacks() -> Mapping[str, type[Attack]]:
    """Return every attack's class by name, in name order."""
    import tallystick.lab.attacks as package

    found: dict[str, type[Attack]] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        public = [getattr(module, name) for name in module.__all__]
        kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Attack)]
        named = [kind for kind in kinds if kind is not Attack and "name" in vars(kind)]
        found.update({kind.name: kind for kind in named})
    return MappingProxyType({name: found[name] for name in sorted(found)})


def make_attack(text: str) -> Attack:
    """Return the attack that ``NAME`` or ``NAME:STRENGTH`` stands for.

    Raises
    ------
    ConfigError
        Unknown name, or a strength that is not asked for or not one of this attack.
    """
    name, colon, strength = text.partition(":")
    kind = all_attacks().get(name)
    if kind is None:
        msg = f"unknown attack '{name}'"
        raise ConfigError(msg, hint=f"known: {', '.join(all_attacks())}, {NONE}")
    if not colon:
        return kind()
    if kind.default_strength is None:
        msg = f"attack '{name}' takes no strength, but '{text}' gives one"
        raise ConfigError(msg)
    try:
        value = float(strength)
    except ValueError:
        value = math.nan
    if not kind.takes(value):
        msg = f"attack '{text}': the strength is a number above 0, {kind.most_strength:g} at most"
        raise ConfigError(msg)
    return kind(strength=value)


def parse_attack(text: str) -> Plan:
    """Return the plan that ``text`` describes.

    Raises
    ------
    ConfigError
        It does not follow the grammar, or names an attack that does not exist.

    Examples
    --------
    >>> parse_attack("sign-flip:4+lying-scorer=1").label
    'sign-flip:4+lying-scorer=1'
    """
    names, equals, count = text.strip().rpartition("=")
    if not equals or not names or not (count.isascii() and count.isdigit()):
        msg = f"attack '{text}' is not {GRAMMAR}"
        raise ConfigError(msg)
    if names == NONE:
        if int(count):
            msg = f"attack '{text}': 'none' is always none=0"
            raise ConfigError(msg)
        return Plan((), 0)
    attacks = tuple(make_attack(name) for name in names.split("+"))
    if len({attack.name for attack in attacks}) < len(attacks):
        msg = f"attack '{text}' names one attack twice"
        raise ConfigError(msg)
    return Plan(attacks, int(count))


def assign(
    plans: Sequence[Plan], members: Sequence[str], attackers: Sequence[str] | None = None
) -> dict[str, Attack]:
    """Return the attack of each member that attacks; all others are honest.

    The last members of ``members`` attack, the first plan's before the second's; or those named by
    ``attackers``, in that order.

    Raises
    ------
    ConfigError
        More attackers are planned than there are members, or other than are named.
    """
    if len(plans) > 1 and any(not plan.attacks for plan in plans):
        msg = "none=0 says that nobody attacks, and other attacks are named beside it"
        raise ConfigError(msg, hint="leave none=0 out")
    wanted = [plan.attack for plan in plans for _ in range(plan.count)]
    if len(wanted) > len(members):
        msg = f"{len(wanted)} attackers are planned among {len(members)} members"
        raise ConfigError(msg, hint="use a smaller COUNT or more members")
    if attackers is None:
        attackers = members[len(members) - len(wanted) :]
    strangers = sorted(set(attackers) - set(members))
    if strangers or len(set(attackers)) != len(wanted):
        msg = f"{len(wanted)} different members have to attack, not: {', '.join(attackers)}"
        raise ConfigError(msg)
    return dict(zip(attackers, wanted, strict=True))
