"""Who co-signed the result: members' signatures over the final model and the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.crypto import keys
from tallystick.ledger.collect.row import COSIGN_DOMAIN
from tallystick.ledger.collect.window import final_statement
from tallystick.ledger.terms import COSIGN
from tallystick.mechanisms.records import CLOSE, Attestation

if TYPE_CHECKING:
    from tallystick.provenance.facts import Instance, TaskHistory
    from tallystick.provenance.timeline import Timeline

__all__ = ["Closing", "check_closing", "count_closing"]


@dataclass(frozen=True, slots=True)
class Closing:
    """How many members were asked, and who signed."""

    members: int
    signed: tuple[str, ...]


def count_closing(history: TaskHistory, timeline: Timeline) -> Closing:
    """Verify and count the signatures over the task's model and log, as RND-52 has them."""
    instance = _instance(history)
    if instance is None:
        return Closing(len(history.terms.roster("members")), ())
    seated = {name for name, _ in instance.seats}
    statement = final_statement(history.task, history.model, instance.log)
    signed: set[str] = set()
    for sent in instance.sent:
        key = timeline.at(sent.at.height).key(sent.member, sent.key)
        record = sent.entry.record
        if key is None or not isinstance(record, Attestation) or sent.member not in seated:
            continue
        if keys.is_valid(key, COSIGN_DOMAIN, statement, record.signature):
            signed.add(sent.member)
    members = len(seated) or len(history.terms.roster("members"))
    return Closing(members, tuple(sorted(signed)))


def check_closing(history: TaskHistory, closing: Closing, least: int | None) -> tuple[bool, str]:
    """Return whether enough signed, and what to say.

    Parameters
    ----------
    least
        How many have to have signed. By default half of the members, rounded up: a sealer that
        left something out has nobody's signature but its friends'.
    """
    signed, members = len(closing.signed), closing.members
    if history.status != "done":
        says = f"the task {history.ending}, so nobody has co-signed a result"
        if least == 0:
            return True, f"{says}; its history alone was asked for"
        return False, f"{says}; its history alone is accepted with a minimum of 0 signers"
    least = (members + 1) // 2 if least is None else least
    names = ", ".join(closing.signed) or "nobody"
    what = "log" if history.model is None else "final model and log"
    says = f"{signed} of {members} members co-signed the {what}: {names}"
    if signed < least:
        return False, f"{says}; at least {least} are needed"
    return True, says


def _instance(history: TaskHistory) -> Instance | None:
    for found in reversed(history.rounds):
        if found.phase == CLOSE and COSIGN in found.stages:
            return found.stages[COSIGN].instances.get("")
    return None
