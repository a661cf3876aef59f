"""What every stage's rule is: one class in one file, found by its id.

``fold`` turns a closed stage's records into its output and is pure. Its place says where it runs:
on the *ledger* (integers only), *attested* (tensor work, exact to the bit, signed by members), or
from *local* records (a member's own training or judgement). A rule whose place is local also has
``act``, a member's side of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Key,
    Opinion,
    Output,
    Subject,
)

if TYPE_CHECKING:
    from tallystick.mechanisms.theory.protection import Protection
    from tallystick.tensors.spec import ModelSpec
    from tallystick.tensors.workbench import Workbench

__all__ = ["Desk", "Held", "Inputs", "LocalRule", "Place", "Rule", "Seat"]


class Place(Enum):
    """Where a rule runs."""

    LEDGER = "ledger"
    ATTESTED = "attested"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """A member on a roster, with the group it sits in (empty when ungrouped)."""

    member: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """One record as the stage holds it when it closes."""

    author: str
    group: str
    record: Artefact | Opinion | Complaint | Attestation


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a fold may look at besides its records.

    Attributes
    ----------
    key
        The stage's key; ``beacon`` the task's randomness when the stage opened.
    roster
        The seats the stage asks, sorted; for ``select`` the seats it may choose from.
    of
        Outputs the stage is about, in the order the terms name them.
    refs
        Outputs (and, for ``parent``, the model) behind the rule's other references.
    parent
        Root and size of the model the stage builds on; ``(b"", 0)`` without one.
    model
        Names, shapes, dtypes and exponents; `None` for a task without a common model.
    counts
        Weight policy: ``("equal", 0)``, ``("declared", cap)`` or ``("committed", cap)``.
    escrow
        Micro-units left in the task's escrow.
    withheld
        Members who withheld a salt: out of every draw until the beacon advances.
    known
        Authors of artefacts that earlier rounds of this task revealed, by root.
    workbench
        Tensor arithmetic over the blobs; only where the rule is attested.
    """

    key: Key
    beacon: bytes = b""
    roster: tuple[Seat, ...] = ()
    of: tuple[Output, ...] = ()
    refs: Mapping[str, Output] = field(default_factory=dict[str, Output])
    parent: tuple[bytes, int] = (b"", 0)
    model: ModelSpec | None = None
    counts: tuple[str, int] = ("equal", 0)
    escrow: int = 0
    withheld: frozenset[str] = frozenset()
    known: Mapping[bytes, str] = field(default_factory=dict[bytes, str])
    workbench: Workbench | None = None

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Every subject of ``of``, live or not, in order."""
        return tuple(subject for output in self.of for subject in output.subjects)

    @property
    def live(self) -> tuple[Subject, ...]:
        """The live subjects of ``of``, in order."""
        return tuple(subject for subject in self.subjects if subject.live)


class Desk(Protocol):
    """A member's own side: its trainer, blobs and secrets. Never reproducible, always signed."""

    @property
    def member(self) -> str:
        """Whose desk it is."""
        ...

    def train(self, inputs: Inputs, protection: Protection | None = None) -> Artefact:
        """Train from ``inputs.parent`` and store the update; return its artefact.

        With ``protection`` the update is clipped and noisy before anybody else can see it.
        """
        ...

    def enrol(self) -> Artefact:
        """Name the data set that what this member submits is charged to."""
        ...

    def blend(self, inputs: Inputs, new: Artefact, old: bytes, share_bps: int) -> Artefact:
        """Return ``new`` with a share of the update ``old`` in it; ``new`` itself if that is gone.

        Values are ``(share · old + (10,000 - share) · new) / 10,000``, rounded to the nearest.
        """
        ...

    def evaluate(self, inputs: Inputs, parent: tuple[bytes, int], *updates: bytes) -> int | None:
        """Score the parent model, plus the mean of any updates, on own data: 0 to 10,000 bps.

        Updates that ruin the model score 0; `None` where the trainer fails on them, never for the
        parent model alone.
        """
        ...

    def commit(self, inputs: Inputs) -> Artefact:
        """Commit to whatever this member holds for a ``submit/commitment`` stage."""
        ...


@runtime_checkable
class Rule(Protocol):
    """The contract of every rule. Parameters are the fields of a frozen dataclass.

    A rule may say more of itself by class attributes: ``lists``, how many outputs it can be about
    (1); ``needs_model``, that it works on updates of a common model; ``yields_model``, that its
    output's first live subject is one.
    """

    id: ClassVar[str]
    place: ClassVar[Place]
    record: ClassVar[Any]  # Artefact, Opinion, Attestation or Complaint; None asks nobody
    refs: ClassVar[tuple[str, ...]]  # stage parameters that name outputs: "clip_over", "parent"

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """Return the stage's output: pure, and blind to the order of ``records``."""
        ...

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Instances the conformance suite tries."""
        ...


class LocalRule(Rule, Protocol):
    """A rule with a member's side."""

    def act(self, inputs: Inputs, desk: Desk) -> Artefact | Opinion | Complaint | None:
        """Return this member's record, or `None` to stay silent."""
        ...
