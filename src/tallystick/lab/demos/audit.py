"""What a finished run shows about itself, from its bundle alone.

A second replica executes the bundle's blocks and adds up real rows, so the numbers do not depend on
what the run remembered, and an interrupted run has them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.codec import decode
from tallystick.lab.decisions import read_decisions
from tallystick.ledger.collect.notes import Note, Signed
from tallystick.ledger.contracts import accounts
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import Collect
from tallystick.mechanisms.records import ROUND, Artefact, Seal
from tallystick.provenance.bundle import Bundle
from tallystick.provenance.history import parse_signed

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.federation.run import Run
    from tallystick.lab.demos.playing import Played
    from tallystick.ledger.state import State

__all__ = ["Honest", "Replayed", "honest_refusals", "money_in", "replay_blocks", "update_bytes"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a second replica found.

    Attributes
    ----------
    times
        Of each block from genesis on, in milliseconds.
    off
        Heights after which the money does not add up to the supply.
    """

    state: State
    times: tuple[int, ...]
    off: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """How many blocks it executed."""
        return len(self.times) - 1

    @property
    def state_root(self) -> str:
        """Where it ended, in hexadecimal."""
        return self.state.root.hex()


@dataclass(frozen=True, slots=True)
class Honest:
    """How honest members' updates fared.

    Attributes
    ----------
    worst, worst_refused, worst_sent
        The member with the largest share of its updates refused, first by name; empty if nobody
        honest sent any.
    """

    sent: int
    refused: int
    worst: str
    worst_refused: int
    worst_sent: int

    @property
    def refused_share(self) -> float:
        """Refused of sent, 0 to 1; 0 when nothing was sent."""
        return self.refused / self.sent if self.sent else 0.0


def replay_blocks(path: Path) -> Replayed:
    """Execute every block of a bundle from genesis and add up all money after each.

    Raises
    ------
    RejectedError
        A block claims what its transactions do not do.
    """
    with Bundle(path) as bundle:
        kernel = Kernel(bundle.genesis)
        supply = sum(founder.micros for founder in bundle.genesis.founders)
        state, head = kernel.found()
        times = [head.time]
        off = [] if money_in(state) == supply else [0]
        for block in bundle.blocks():
            outcome = kernel.apply(state, head, block)
            state.commit(outcome.changes)
            head = outcome.header
            times.append(head.time)
            supply += sum(event.amount for event in outcome.events if event.kind == "grant")
            if money_in(state) != supply:
                off.append(head.height)
    return Replayed(state, tuple(times), tuple(off))


def money_in(state: State) -> int:
    """Return all money there is: every balance, escrow and bond, row by row, and the sink."""
    total = accounts.totals(state).sink
    for key, row in state.rows():
        if key[0] in {accounts.BALANCES.prefix, accounts.ESCROW.prefix}:
            total += decode(int, row)
        elif key[0] == accounts.BONDS.prefix:
            bond = decode(accounts.Bond, row)
            total += bond.round + bond.standing
    return total


def update_bytes(path: Path) -> list[int]:
    """Return the ledger bytes of each update: its seal's and its reveal's transactions."""
    sizes: dict[tuple[int, str, str], int] = {}
    revealed: set[tuple[int, str, str]] = set()
    with Bundle(path) as bundle:
        for leaf in bundle.leaves():
            note = decode(Note, leaf)  # pyright: ignore[reportArgumentType] - a union is a type
            if not isinstance(note, Signed):
                continue
            body = parse_signed(note.wire)
            if not isinstance(body.message, Collect):
                continue
            for entry in body.message.entries:
                if entry.phase != ROUND or not isinstance(entry.record, Artefact | Seal):
                    continue
                key = (entry.round, entry.stage, body.sender)
                sizes[key] = sizes.get(key, 0) + len(note.wire)
                if isinstance(entry.record, Artefact):
                    revealed.add(key)
    return [sizes[key] for key in sorted(revealed)]


def honest_refusals(run: Run | Played, dishonest: frozenset[str]) -> Honest:
    """Count the honest members' updates and how many were refused, for whatever reason."""
    found = read_decisions(run.history, dishonest)
    honest, worst = found.of(malicious=False), found.worst_treated
    return Honest(
        honest.sent,
        honest.refused,
        "" if worst is None else worst.member,
        0 if worst is None else worst.refused,
        0 if worst is None else worst.sent,
    )
