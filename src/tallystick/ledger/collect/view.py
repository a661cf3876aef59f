"""A task as a rule sees it: references, rosters and inputs, resolved on one state.

The kernel folds through it and members look ahead through it: ``assumed`` outputs stand in for
stages that have not closed yet, so that signatures can be given before a stage opens.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.ledger.collect.recipe import parse_reference, parse_who, plan_of
from tallystick.ledger.collect.rows import OUTPUTS, SEEN, TASKS, TERMS, TaskRow
from tallystick.ledger.contracts import accounts
from tallystick.ledger.contracts.members import active_members
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import CLOSE, ROUND, SETUP, Key, Output, Pay
from tallystick.mechanisms.rule import Inputs, Seat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.ledger.collect.recipe import Plan, Step
    from tallystick.ledger.state import State
    from tallystick.ledger.terms import Terms

__all__ = ["TaskView", "attested_message", "inputs_root", "subject_of", "view_task"]

MOST_ATTESTERS = 32
DRAWN_ATTESTERS = 16
SEAT_ORDER = attrgetter("member", "group")  # as seats compare, sooner


def view_task(state: State, task: bytes) -> TaskView | None:
    """Return a task's view, or `None` when there is no such task."""
    row = state.get(TASKS, task)
    terms = state.get(TERMS, task)
    return None if row is None or terms is None else TaskView(state, row, terms)


class TaskView:
    """One task on one state."""

    def __init__(
        self,
        state: State,
        row: TaskRow,
        terms: Terms,
        assumed: Mapping[str, Output] | None = None,
    ) -> None:
        """Look at ``row``; ``assumed`` maps stages of the running list to outputs to come."""
        self.state = state
        self.row = row
        self.terms = terms
        self.plan: Plan = plan_of(terms)
        self.assumed = assumed or {}

    @property
    def step(self) -> Step | None:
        """The step whose stage is open, or `None` when the task has ended."""
        steps = self.plan.phases[self.row.phase]
        return steps[self.row.position] if self.row.position < len(steps) else None

    def output(self, text: str, phase: int, position: int) -> Output:
        """Return the output a reference means at that place; empty where there is none."""
        found = self.find_source(text, phase, position)
        return Output() if found is None else self._stored(*found)

    def find_source(self, text: str, phase: int, position: int) -> tuple[int, int, str] | None:
        """Return phase, round and name of the stage a reference means at that place, if any."""
        name, back = parse_reference(text)
        completed = self.row.completed
        if back:
            reached = phase != SETUP and back <= len(completed)
            return (ROUND, completed[-back], name) if reached else None
        if any(step.stage.name == name for step in self.plan.phases[phase][:position]):
            return phase, self.row.round, name
        if self.plan.find(SETUP, name) is not None:
            return SETUP, 0, name
        return (ROUND, completed[-1], name) if phase == CLOSE and completed else None

    def parent(self, step: Step) -> tuple[bytes, int]:
        """Return root and size of the model a step builds on."""
        if step.stage.parent:
            found = self.output(step.stage.parent, step.phase, step.position).live
            if found and found[0].columns:
                return found[0].id, found[0].columns[0]
            if parse_reference(step.stage.parent)[1] == 0 and self.row.draft is not None:
                return self.row.draft.root, self.row.draft.size
        if self.row.model is None:
            return b"", 0
        return self.row.model.root, self.row.model.size

    def roster(self, text: str, group: str = "") -> tuple[Seat, ...]:
        """Return the seats a roster expression means now, sorted; only active members.

        With ``group``, seats of that group, or of all others where the expression says so.
        """
        chosen: dict[str, Seat] = {}
        for added, name, other in parse_who(text):
            for seat in self._named(name):
                inside = not group or (seat.group != group if other else seat.group == group)
                if not added:
                    chosen.pop(seat.member, None)
                elif inside:
                    chosen.setdefault(seat.member, seat)
        active = set(active_members(self.state))
        kept = (seat for seat in chosen.values() if seat.member in active)
        return tuple(sorted(kept, key=SEAT_ORDER))

    def attesters(self, step: Step, group: str, *, everybody: bool) -> tuple[Seat, ...]:
        """Return who attests: the roster, or above 32 seats a committee drawn by the beacon."""
        seats = self.roster(step.stage.who, group)
        if everybody or len(seats) <= MOST_ATTESTERS:
            return seats
        key = self.key(step, group)
        willing = tuple(seat for seat in seats if seat.member not in self.row.withheld)
        drawn = sorted(
            willing if len(willing) >= DRAWN_ATTESTERS else seats,
            key=lambda seat: (ticket(self.row.beacon, key, seat.member), seat.member),
        )
        return tuple(sorted(drawn[:DRAWN_ATTESTERS]))

    def dataset(self, step: Step, member: str) -> bytes:
        """Return the data set that a member's records of a step are charged to; empty if none."""
        reference = dict(step.stage.refs).get("data", "")
        if not reference:
            return b""
        named = self.output(reference, step.phase, step.position).live
        return next((subject.id for subject in named if subject.author == member), b"")

    def groups(self, step: Step) -> tuple[str, ...]:
        """Return the labels a step runs for, in order; one empty label when it is not grouped."""
        if not step.stage.per_group:
            return ("",)
        names = [name for added, name, _ in parse_who(step.stage.who) if added]
        labels = {seat.group for name in names for seat in self._named(name) if seat.group}
        return tuple(sorted(labels)) or ("",)

    def labels(self, step: Step) -> set[str]:
        """Return every label that a step's records may stand under in the running round.

        A signature given ahead of a new draw stands under the labels from before it.
        """
        if not step.stage.per_group:
            return {""}
        seats = (
            seat
            for rows in (self.row.pending, self.row.rosters)
            for row in rows
            for seat in row.seats
        )
        return {"", *(seat.group for seat in seats)}

    def key(self, step: Step, group: str) -> Key:
        """Return the key of a step's instance in the running round."""
        return Key(self.row.id, step.phase, self.row.round, step.stage.name, group)

    def inputs(self, step: Step, group: str = "") -> Inputs:
        """Return what a step's fold may look at."""
        stage = step.stage

        def narrowed(text: str) -> Output:
            output = self.output(text, step.phase, step.position)
            if not group:
                return output
            kept = tuple(found for found in output.subjects if found.group in {"", group})
            return Output(kept, output.effects, output.void)

        source = stage.source or stage.who
        refs = {name: narrowed(text) for name, text in stage.refs}
        committed = self.terms.weights[0] == "committed"
        if committed and "commitment" not in refs and self.plan.find(SETUP, "commitment"):
            refs["commitment"] = self._stored(SETUP, 0, "commitment")
        spent = sum(effect.micros for effect in self.row.effects if isinstance(effect, Pay))
        return Inputs(
            key=self.key(step, group),
            beacon=self.row.beacon,
            roster=self.roster(source, group) if source else (),
            of=tuple(narrowed(text) for text in stage.of),
            refs=refs,
            parent=self.parent(step),
            model=self.terms.model,
            counts=self.terms.weights,
            escrow=max(0, accounts.escrow(self.state, self.row.id) - spent),
            withheld=frozenset(self.row.withheld),
        )

    def first_author(self, root: bytes) -> str:
        """Return who revealed an artefact in an earlier round of this task; empty if nobody."""
        seen = self.state.get(SEEN, self.row.id, root)
        return "" if seen is None else seen.author

    def _stored(self, phase: int, round_: int, name: str) -> Output:
        if phase == self.row.phase and round_ == self.row.round and name in self.assumed:
            return self.assumed[name]
        return self.state.get(OUTPUTS, self.row.id, phase, round_, name) or Output()

    def _named(self, name: str) -> tuple[Seat, ...]:
        for rows in (self.row.pending, self.row.rosters):
            for row in rows:
                if row.name == name:
                    return tuple(Seat(seat.member, seat.group) for seat in row.seats)
        if name == "@parties":
            return tuple(Seat(member) for member in self.terms.parties)
        return tuple(Seat(member) for member in self.terms.roster(name))


def inputs_root(inputs: Inputs) -> bytes:
    """Return the hash of everything an attested fold depends on besides blobs and terms."""
    refs = tuple(sorted((name, output.root) for name, output in inputs.refs.items()))
    return sha256(
        "inputs",
        encode(tuple(output.root for output in inputs.of)),
        encode(refs),
        encode(inputs.parent),
        inputs.beacon,
    )


def attested_message(key: Key, inputs: bytes, rule: str, output: bytes) -> bytes:
    """Return what an attester signs: it names the output by root only."""
    return sha256("attested", encode(key), inputs, rule.encode(), output)


def subject_of(key: Key, output: Output) -> bytes:
    """Return the root that hold vectors name: the listed output of one stage instance."""
    return sha256("listed", encode(key), output.root)
