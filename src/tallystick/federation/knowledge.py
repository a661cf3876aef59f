"""What a member of a simulation may look at in one stage, each part fetched when it is asked for.

What was revealed is read from the blobs that the ledger names. What allies trained is asked of
their own desks, which remember it, so nobody trains twice. What honest members will submit is
their own record, made and journalled a little earlier than they would have: an omniscient attacker
changes nothing about them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tallystick.errors import TallyError
from tallystick.federation.arrays import Arrays, TrainerError
from tallystick.ledger.collect.rows import STAGES
from tallystick.mechanisms.records import Artefact, Key, Subject
from tallystick.tensors.layout import update_parameters
from tallystick.tensors.model import open_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import StageRow
    from tallystick.ledger.collect.view import TaskView
    from tallystick.mechanisms.records import Complaint, Opinion
    from tallystick.mechanisms.rule import Inputs
    from tallystick.tensors.spec import Blobs, ModelSpec

__all__ = ["Peer", "StageKnowledge", "read_update"]


class Peer(Protocol):
    """Another member in the same process."""

    def trained(self, view: TaskView, step: Step, inputs: Inputs) -> Arrays:
        """Return what its trainer makes of the stage's parent, before any deviation.

        Raises
        ------
        TrainerError
            The trainer failed.
        StillTrainingError
            It is not ready: look again later.
        """
        ...

    def prepared(
        self, view: TaskView, step: Step, stage: StageRow
    ) -> Artefact | Opinion | Complaint | None:
        """Return the record it will send, made and journalled now if it is not yet.

        Raises
        ------
        StillTrainingError
            It is not ready: look again later.
        """
        ...


class StageKnowledge:
    """A member's `tallystick.federation.conduct.Knowledge` of one stage.

    Parameters
    ----------
    peers
        Everybody in this process, by name; empty where a member is alone in its own.
    """

    def __init__(
        self,
        member: str,
        allied: frozenset[str],
        where: tuple[TaskView, Step, Key],
        blobs: Blobs,
        peers: Mapping[str, Peer],
    ) -> None:
        """Look at nothing yet."""
        self.member = member
        self.allied = allied | {member}
        self._view, self._step, self._key = where
        self._blobs = blobs
        self._peers = peers

    @property
    def parent(self) -> tuple[bytes, int]:
        """See `Knowledge.parent`."""
        return self._view.parent(self._step)

    @property
    def last(self) -> tuple[Subject, ...]:
        """See `Knowledge.last`."""
        step = self._step
        return self._view.output(f"{step.stage.name}@-1", step.phase, step.position).subjects

    def allies(self) -> dict[str, Arrays]:
        """See `Knowledge.allies`."""
        inputs = self._view.inputs(self._step, self._key.group)
        parent = self._read(inputs.parent[0])
        updates: dict[str, Arrays] = {}
        for name in sorted(self._seats.keys() & self.allied):
            peer = self._peers.get(name)
            if peer is None or parent is None:
                continue
            try:
                trained = peer.trained(self._view, self._step, inputs)
            except TrainerError:
                continue
            updates[name] = {
                tensor: array.astype(np.float64) - parent[tensor]
                for tensor, array in trained.items()
            }
        return updates

    def revealed(self) -> dict[str, Arrays]:
        """See `Knowledge.revealed`."""
        return self._updates({found.author: found.id for found in self.last if found.live})

    def everybody(self) -> dict[str, Arrays]:
        """See `Knowledge.everybody`."""
        roots: dict[str, bytes] = {}
        for name, group in sorted(self._seats.items()):
            peer = self._peers.get(name)
            stage = self._view.state.get(STAGES, self._view.key(self._step, group))
            if peer is None or stage is None or name in self.allied:
                continue
            record = peer.prepared(self._view, self._step, stage)
            if isinstance(record, Artefact) and record.size:
                roots[name] = record.root
        return self._updates(roots)

    @property
    def _seats(self) -> dict[str, str]:
        """Who is asked in this stage, in any group, and in which."""
        grouped = self._step.stage.per_group
        seats = self._view.roster(self._step.stage.who)
        return {seat.member: seat.group if grouped else "" for seat in seats}

    def _read(self, root: bytes) -> Arrays | None:
        spec = self._view.terms.model
        return (
            None if spec is None else open_model(self._blobs.open(root), spec.parameters).arrays()
        )

    def _updates(self, roots: Mapping[str, bytes]) -> dict[str, Arrays]:
        """Return the updates that can be read and are of the model's shape."""
        spec = self._view.terms.model
        found: dict[str, Arrays] = {}
        for name, root in roots.items():
            try:
                if spec is not None:
                    found[name] = read_update(self._blobs, root, spec)
            except TallyError:  # not here, or no update: nothing to be learned from it
                continue
        return found


def read_update(blobs: Blobs, root: bytes, spec: ModelSpec) -> Arrays:
    """Return an update as float64 arrays by tensor, in units of the model's parameters.

    Raises
    ------
    UnavailableError
        The blob is not here.
    DecodeError, ConfigError
        It is no update of such a model.
    """
    update = open_model(blobs.open(root), update_parameters(spec.parameters)).arrays()
    steps = {each.name: math.ldexp(1.0, each.exponent) for each in spec.parameters}
    return {name: np.asarray(values * steps[name]) for name, values in update.items()}
