"""What each round's model is worth on a member's own data, and what the round cost: a CSV file."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tallystick.federation.arrays import Arrays, TrainerError
from tallystick.federation.child import Child, Facts
from tallystick.federation.deadline import within
from tallystick.federation.desk import config_of, settings_of
from tallystick.federation.metrics import longest_turn
from tallystick.federation.trainer import evaluate_once
from tallystick.ledger.collect.rows import TERMS
from tallystick.tensors.model import open_model

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.consensus.client import NodeClient
    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.collect.rows import TaskRow
    from tallystick.ledger.state import State
    from tallystick.storage.blobs import FileBlobs

__all__ = ["SiteMetrics", "read_metrics"]

LOG = logging.getLogger(__name__)
QUICK_SECONDS = 0.4  # most that an evaluation may take here; four times what counts as quick
FIRST = ("round", "member", "examples", "seconds", "sent_bytes", "received_bytes")


class SiteMetrics:
    """A line a round; what an earlier process wrote is kept.

    Notes
    -----
    ``seconds`` and bytes count from the line before, or from when this process began. A round
    that completed while the member was away has no line.
    """

    def __init__(self, path: Path, member: str, trainer: Trainer, client: NodeClient) -> None:
        """Read what is there."""
        self._path = path
        self._member = member
        self._trainer = trainer
        self._client = client
        self._rows = read_metrics(path)
        self._since = (time.monotonic(), client.sent, client.received)
        self._child: Child | None = None
        self._number = 0  # of the round whose model it evaluates
        self._is_quick = False  # whether the last evaluation was

    @property
    def is_busy(self) -> bool:
        """Whether a model is being evaluated, in a process of its own."""
        return self._child is not None

    def take(self, state: State, row: TaskRow, blobs: FileBlobs) -> bool:
        """Have the newest completed round's model evaluated; return whether a line came of it.

        A round's windows go on meanwhile, so it waits for nothing that may take long: what was
        quick the last time is done here, anything else in a process of its own.
        """
        if self._child is not None:
            return self._child.is_ready and self._collect()
        return self._begin(state, row, blobs)

    def finish(self, state: State, row: TaskRow, blobs: FileBlobs) -> None:
        """Wait for the line of the last completed round."""
        for _ in range(2):  # one may be under way for an earlier round
            self._begin(state, row, blobs)
            self._collect()

    def close(self) -> None:
        """End what is under way."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _begin(self, state: State, row: TaskRow, blobs: FileBlobs) -> bool:
        """Evaluate a model that has no line; return whether that is done."""
        terms = state.get(TERMS, row.id)
        number = row.completed[-1] if row.completed else 0
        if self._child is not None or terms is None or terms.model is None or row.model is None:
            return False
        if not number or str(number) in self._rows or not blobs.has(row.model.root):
            return False
        arrays = open_model(blobs.open(row.model.root), terms.model.parameters).arrays()
        config = config_of(settings_of(terms), row.id, number, self._member)
        arguments = (self._trainer, arrays, config)
        self._number = number
        if self._is_quick:
            try:
                found = within(QUICK_SECONDS, lambda: _evaluate(*arguments))
            except TrainerError:
                self._is_quick = False  # what it comes to is for a process of its own to say
            else:
                return self._note(lambda: found)
        self._child = Child(_evaluate, arguments, limit_seconds=longest_turn(terms))
        return False

    def _collect(self) -> bool:
        """Write the line of the model that is evaluated, once that is done."""
        child, self._child = self._child, None
        return child is not None and self._note(child.result)

    def _note(self, result: Callable[[], tuple[Arrays, Facts]]) -> bool:
        """Write the line of what an evaluation comes to; always `True`."""
        values: dict[str, float] = {}
        count = 0
        try:
            _, facts = result()
            values, count = facts["metrics"], facts["num_examples"]
            self._is_quick = facts["seconds"] < QUICK_SECONDS / 4
        except TrainerError as error:
            self._is_quick = False
            LOG.warning("%s cannot evaluate: %s", self._member, error)
        now = (time.monotonic(), self._client.sent, self._client.received)
        since, self._since = self._since, now
        self._rows[str(self._number)] = {
            "round": str(self._number),
            "member": self._member,
            "examples": str(count),
            "seconds": f"{now[0] - since[0]:.3f}",
            "sent_bytes": str(now[1] - since[1]),
            "received_bytes": str(now[2] - since[2]),
            **{name: repr(value) for name, value in values.items()},
        }
        self._write()
        return True

    def _write(self) -> None:
        names = sorted({name for row in self._rows.values() for name in row} - set(FIRST))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(".metrics.csv")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, (*FIRST, *names), restval="")
            writer.writeheader()
            writer.writerows(self._rows[key] for key in sorted(self._rows, key=int))
        temporary.replace(self._path)


def _evaluate(trainer: Trainer, arrays: Arrays, config: Mapping[str, Any]) -> tuple[Arrays, Facts]:
    began = time.monotonic()
    values, count = evaluate_once(trainer, arrays, config)
    seconds = time.monotonic() - began
    return {}, {"metrics": values, "num_examples": count, "seconds": seconds}


def read_metrics(path: Path) -> dict[str, dict[str, str]]:
    """Return the lines of a file by round; a damaged one is begun anew."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("round") or "").isdigit()]
    except (FileNotFoundError, UnicodeDecodeError, csv.Error):
        return {}
    return {row["round"]: {k: v for k, v in row.items() if k and v} for row in rows}
