"""Answer in sentences: why was this refused, what did this member do, what is in this model.

Every statement names the block, the record in the task's log, and the evidence it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError
from tallystick.provenance.about import about_member, about_model, about_task, about_update
from tallystick.provenance.statement import Statement

if TYPE_CHECKING:
    from tallystick.provenance.facts import TaskHistory

__all__ = ["Explanation", "Statement", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Statements about one thing.

    Attributes
    ----------
    kind, name
        ``task``, ``update``, ``member`` or ``model``, and which one.
    """

    task: str
    task_id: bytes
    kind: str
    name: str
    statements: tuple[Statement, ...]

    @property
    def lines(self) -> list[str]:
        """The statements as lines of plain text."""
        return [str(statement) for statement in self.statements]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``tally explain --json`` prints."""
        return {
            "format": "tally.explain/1",
            "ok": True,
            "task": self.task,
            "task_id": self.task_id.hex(),
            "about": {"kind": self.kind, "name": self.name},
            "statements": [statement.to_json() for statement in self.statements],
        }


def explain(
    history: TaskHistory,
    *,
    update: bytes | None = None,
    member: str | None = None,
    model: bytes | None = None,
) -> Explanation:
    """Explain an update, a member, a model, or by default the whole task.

    Raises
    ------
    ConfigError
        More than one is asked about, or the log knows nothing of it.
    """
    if sum(asked is not None for asked in (update, member, model)) > 1:
        msg = "ask about an update, a member or a model, not several at once"
        raise ConfigError(msg)
    if update is not None:
        kind, name, found = "update", update.hex(), about_update(history, update)
    elif member is not None:
        kind, name, found = "member", member, about_member(history, member)
    elif model is not None:
        kind, name, found = "model", model.hex(), about_model(history, model)
    else:
        kind, name, found = "task", history.terms.name, about_task(history)
    if not found:
        msg = f"the log of '{history.terms.name}' knows no {kind} {name}"
        raise ConfigError(msg, hint="tally log lists what there is")
    statements = tuple(sorted(found, key=lambda each: each.at))
    return Explanation(history.terms.name, history.task, kind, name, statements)
