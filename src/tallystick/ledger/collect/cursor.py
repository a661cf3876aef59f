"""A task being changed: its view, with the means to write its row and its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.codec import decode, encode
from tallystick.ledger.collect.notes import Note
from tallystick.ledger.collect.rows import RECORDS, STAGES, TASKS, MemberRow, StageRow
from tallystick.ledger.collect.view import TaskView

if TYPE_CHECKING:
    from tallystick.ledger.collect.rows import TaskRow
    from tallystick.ledger.state import State
    from tallystick.ledger.terms import Terms
    from tallystick.mechanisms.records import Key

__all__ = ["Cursor"]


class Cursor(TaskView):
    """One task in the hands of a handler or of due work; ``save`` writes the row back."""

    def __init__(self, state: State, row: TaskRow, terms: Terms, block_time: int) -> None:
        """Take the task at ``block_time``."""
        super().__init__(state, row, terms)
        self.now = max(0, block_time - row.excess)
        self.ended_rounds = 0

    def change(self, **fields: Any) -> None:  # noqa: ANN401 - the row's own types
        """Replace fields of the task's row."""
        self.row = msgspec.structs.replace(self.row, **fields)

    def note(self, note: Note) -> None:
        """Append a leaf to the task's log."""
        leaf = encode(note)
        decode(Note, leaf)  # pyright: ignore[reportArgumentType] - a union; out of range is our bug
        self.state.logged.append((self.row.id, leaf))
        self.change(log=self.row.log.append(leaf))

    def save(self) -> None:
        """Write the task's row."""
        self.state.put(TASKS, self.row.id, row=self.row)

    def stage(self, key: Key) -> StageRow | None:
        """Return an open stage instance."""
        return self.state.get(STAGES, key)

    def put_stage(self, stage: StageRow, **fields: Any) -> StageRow:  # noqa: ANN401
        """Write a stage instance with some fields replaced."""
        stage = msgspec.structs.replace(stage, **fields)
        self.state.put(STAGES, stage.key, row=stage)
        return stage

    def records(self, key: Key, member: str) -> MemberRow:
        """Return what a member sent for a stage instance."""
        return self.state.get(RECORDS, key, member) or MemberRow()

    def put_records(self, key: Key, member: str, row: MemberRow) -> None:
        """Write what a member sent."""
        self.state.put(RECORDS, key, member, row=row)
