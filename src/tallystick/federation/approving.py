"""Approve a task without taking part in it yet: get its initial model, seal, and reveal when due.

An approval is sealed until everybody has sealed theirs. What this leaves in the member's folder is
what a member that runs goes on from: it reveals, should nobody have waited here.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tallystick.errors import ConfigError, UnavailableError
from tallystick.federation.acting import FINAL_SECONDS, MEMBER
from tallystick.federation.desk import check_initial_model
from tallystick.federation.habits import Habits
from tallystick.federation.member import Member
from tallystick.ledger.collect.rows import RECORDS, STAGES, TASKS, TERMS, MemberRow
from tallystick.ledger.terms import APPROVE
from tallystick.mechanisms.records import SETUP, Key
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tallystick.federation.acting import Acting
    from tallystick.federation.arrays import Arrays
    from tallystick.ledger.collect.rows import StageRow
    from tallystick.ledger.terms import Terms

__all__ = ["BLOBS", "Approval", "approve"]

BLOBS = "blobs"  # beside the member's ledger
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Approval:
    """How far a member's approval is.

    Attributes
    ----------
    state
        ``sealed``: it has to be revealed when everybody has sealed; ``revealed``: it is.
    waits_for
        Who has not sealed yet, or, once this one is revealed, not revealed.
    """

    state: Literal["sealed", "revealed"]
    waits_for: tuple[str, ...]


def approve(acting: Acting, task: bytes, key_folder: Path, wait_seconds: float = 0.0) -> Approval:
    """Seal this member's approval, and reveal it if that is due within some seconds.

    Nothing but the approval is sent, whatever else the task asks for meanwhile.

    Raises
    ------
    ConfigError
        The task does not ask this member any more, or its initial model does not fit its terms.
    UnavailableError
        The initial model is not at the node yet, a member works with this key folder, or no block
        has the approval in time.
    """
    terms, me = _asked(acting, task)
    stage = _open_stage(acting, task)
    if stage is None:
        _check_past(acting, task, me)
        return Approval("revealed", ())
    folder = key_folder / MEMBER
    with closing(FileBlobs(folder / BLOBS)) as blobs:
        if terms.model is not None:
            acting.transfers(blobs).download(task, terms.model.root, terms.model.size)
        check_initial_model(terms, blobs)
        habits = Habits(only=terms.name)
        workbench = Workbench(blobs, threads=1)
        member = Member(acting.identity, acting.engine, _NoTrainer(), workbench, folder, habits)
        with closing(member):
            return _see_through(acting, task, member, wait_seconds)


def _asked(acting: Acting, task: bytes) -> tuple[Terms, str]:
    """Return the terms and who is asked; refuse who is not."""
    terms, me = acting.state.get(TERMS, task), acting.name
    if terms is None:
        msg = f"there is no task {task.hex()}"
        raise ConfigError(msg)
    if me not in terms.parties:
        msg = f"the terms of '{terms.name}' do not name '{me}'"
        raise ConfigError(msg, hint=f"they name {', '.join(terms.parties)}")
    return terms, me


def _key(task: bytes) -> Key:
    return Key(task, SETUP, 0, APPROVE, "")


def _open_stage(acting: Acting, task: bytes) -> StageRow | None:
    """Return the task's approval while it is the stage that is open, else nothing."""
    row = acting.state.get(TASKS, task)
    key = _key(task)
    if row is None or row.status != "running" or row.open != (key,):
        return None
    stage = acting.state.get(STAGES, key)
    return None if stage is None or stage.window == "done" else stage


def _check_past(acting: Acting, task: bytes, me: str) -> None:
    """Refuse unless the approval that is over was given: the task went on."""
    row = acting.state.get(TASKS, task)
    went_on = row is not None and (row.status == "running" or row.phase != SETUP)
    if row is None or not went_on:
        status = "gone" if row is None else f"{row.status} {row.cause}".strip()
        msg = f"'{me}' has nothing to approve any more: the task is {status}"
        raise ConfigError(msg, hint="its owner can propose it anew, under another name")


def _see_through(acting: Acting, task: bytes, member: Member, wait_seconds: float) -> Approval:
    """Let a member send its approval, and wait for what it waits for."""
    key, me = _key(task), acting.name
    until = time.monotonic() + wait_seconds
    sent_until = max(until, time.monotonic() + FINAL_SECONDS)
    while True:
        stage = _open_stage(acting, task)
        if stage is None:
            _check_past(acting, task, me)
            return Approval("revealed", ())
        row = acting.state.get(RECORDS, key, me) or MemberRow()
        if row.declined:
            msg = f"'{me}' declined: {row.declined.decode(errors='replace')}"
            raise ConfigError(msg, hint="the task cannot begin; its owner can propose another")
        if row.record is not None:
            return Approval("revealed", _missing(acting, stage, task))
        if row.seal and stage.window == "seal" and time.monotonic() >= until:
            return Approval("sealed", _missing(acting, stage, task))
        if time.monotonic() >= sent_until:
            msg = f"no block has the approval after {FINAL_SECONDS:g} seconds"
            raise UnavailableError(msg, hint="the same command goes on")
        member.step()
        acting.engine.follow(POLL_SECONDS)


def _missing(acting: Acting, stage: StageRow, task: bytes) -> tuple[str, ...]:
    """Return who is asked and has not done what the open window is for."""
    found: list[str] = []
    for seat in stage.roster:
        row = acting.state.get(RECORDS, _key(task), seat.member) or MemberRow()
        done = row.record is not None if stage.window == "reveal" else bool(row.seal)
        if not (done or row.declined):
            found.append(seat.member)
    return tuple(found)


class _NoTrainer:
    """Stands where a trainer would: an approval asks for no training."""

    def train(self, parameters: Arrays, config: Mapping[str, Any]) -> tuple[Arrays, int]:
        """Never called."""
        raise NotImplementedError

    def evaluate(
        self, parameters: Arrays, config: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        """Never called."""
        raise NotImplementedError
