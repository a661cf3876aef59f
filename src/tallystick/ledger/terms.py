"""What the members agree to: canonical, integers only, every default resolved.

A task's id is the hash of its terms, so the same agreement has the same id on every engine.
Windows and lengths of time are whole milliseconds, money is micro-units.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tallystick.codec import U8, U16, U32, U63, Hash, Label, Record, encode
from tallystick.crypto.hashes import sha256
from tallystick.tensors.spec import ModelSpec

__all__ = [
    "APPROVE",
    "COSIGN",
    "Need",
    "Pin",
    "Roster",
    "Setting",
    "Short",
    "Stage",
    "Terms",
    "Value",
    "phase_stages",
    "task_id",
]

APPROVE = "approve"
COSIGN = "cosign"

RuleId = Annotated[str, msgspec.Meta(max_length=96, pattern=r"^[a-z]+/[a-z0-9-]+/[0-9]+\Z")]
Reference = Annotated[str, msgspec.Meta(max_length=160)]
Value = int | str | bool | tuple[int | str, ...]


class Need(Record):
    """How many are enough: ``count`` of them, or with ``share`` more than ``count/share``."""

    count: U32 = 1
    share: U32 = 0

    def met(self, got: int, roster: int) -> bool:
        """Whether ``got`` of ``roster`` are enough."""
        if self.share:
            return got * self.share > roster * self.count
        return got >= self.count

    def reachable(self, roster: int) -> bool:
        """Whether a roster of that size can ever be enough."""
        return self.met(roster, roster)


class Short(Record):
    """What happens when too few answered: how often to reopen the window, then what."""

    reruns: U8 = 0
    then: Literal["void", "abort"] = "void"


class Stage(Record):
    """One stage of a recipe, every default resolved."""

    name: Label
    rule: RuleId
    who: Reference = ""
    source: Reference = ""
    of: Annotated[tuple[Reference, ...], msgspec.Meta(max_length=8)] = ()
    refs: Annotated[tuple[tuple[Label, Reference], ...], msgspec.Meta(max_length=8)] = ()
    parent: Reference = ""
    into: Annotated[tuple[Label, ...], msgspec.Meta(max_length=4)] = ()
    per_group: bool = False
    sealed: bool = False
    within: U63 = 0
    reveal: U63 = 0
    hold: U63 = 0
    bond: U63 = 0
    forfeit: U63 = 0
    need: Need = Need()
    short: Short = Short()
    parameters: Annotated[tuple[tuple[str, Value], ...], msgspec.Meta(max_length=32)] = ()


class Roster(Record):
    """A named list of members, sorted."""

    name: Label
    members: Annotated[tuple[Label, ...], msgspec.Meta(max_length=4096)]


class Pin(Record):
    """A third party's rule and the SHA-256 of its source file."""

    rule: RuleId
    digest: Hash


class Setting(Record):
    """One value of the trainers' table; a float travels as its exact hexadecimal text."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    kind: Literal["bool", "float", "int", "str"]
    text: Annotated[str, msgspec.Meta(max_length=1024)]


class Terms(Record):
    """The agreement a task runs under."""

    version: U8
    name: Label
    recipe: Annotated[str, msgspec.Meta(max_length=64)]
    mode: Literal["auditable", "grouped", "private"]
    owner: Label
    rounds: U32
    rosters: Annotated[tuple[Roster, ...], msgspec.Meta(max_length=32)]
    setup: Annotated[tuple[Stage, ...], msgspec.Meta(max_length=64)]
    round: Annotated[tuple[Stage, ...], msgspec.Meta(max_length=64)]
    close: Annotated[tuple[Stage, ...], msgspec.Meta(max_length=64)]
    model: ModelSpec | None
    weights: tuple[Literal["equal", "declared", "committed"], U32]
    approve_within: U63
    gap: U63
    retention: U63
    holders: Label
    score: Annotated[str, msgspec.Meta(max_length=64)]
    keep: Literal["last", "best"]
    train: Annotated[tuple[Setting, ...], msgspec.Meta(max_length=256)]
    read_fee: U63
    pins: Annotated[tuple[Pin, ...], msgspec.Meta(max_length=64)]
    edition: U16 = 0

    def roster(self, name: str) -> tuple[str, ...]:
        """Return the members of the roster ``name``; empty when the terms name none."""
        if name == "owner":
            return (self.owner,)
        for roster in self.rosters:
            if roster.name == name:
                return roster.members
        return ()

    @property
    def parties(self) -> tuple[str, ...]:
        """Everybody the terms name: those whose approval the task needs."""
        named = {self.owner, *(member for roster in self.rosters for member in roster.members)}
        return tuple(sorted(named))


def task_id(terms: Terms) -> bytes:
    """Return the task's id: the hash of its terms."""
    return sha256("terms", encode(terms))


def phase_stages(terms: Terms, phase: int) -> tuple[Stage, ...]:
    """Return a phase's stages, with approval at the head of ``setup`` and co-signing at the end."""
    if phase == 1:
        return terms.round
    window = terms.approve_within
    if phase == 0:
        everybody = Need(len(terms.parties))
        approve = Stage(
            name=APPROVE,
            rule="join/approval/1",
            who="@parties",
            sealed=True,
            within=window,
            reveal=window,
            need=everybody,
            short=Short(then="abort"),
        )
        return (approve, *terms.setup)
    cosign = Stage(name=COSIGN, rule="join/cosign/1", who="members", within=window, need=Need(0))
    return (*terms.close, cosign)
