"""What each round's model is worth on a member's own data, and what the round cost: a CSV file."""

from __future__ import annotations

import csv
import logging
import time
from typing import TYPE_CHECKING

from tallystick.federation.arrays import TrainerError
from tallystick.federation.desk import settings_of, training_seed
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

    def take(self, state: State, row: TaskRow, blobs: FileBlobs) -> bool:
        """Evaluate the newest completed round's model, unless it has a line; return whether."""
        terms = state.get(TERMS, row.id)
        number = row.completed[-1] if row.completed else 0
        if terms is None or terms.model is None or row.model is None:
            return False
        if not number or str(number) in self._rows or not blobs.has(row.model.root):
            return False
        arrays = open_model(blobs.open(row.model.root), terms.model.parameters).arrays()
        seed = training_seed(row.id, number, self._member)
        config = {**settings_of(terms), "round": number, "seed": seed, "member": self._member}
        try:
            limit = longest_turn(terms)
            values, count = evaluate_once(self._trainer, arrays, config, limit_seconds=limit)
        except TrainerError as error:
            LOG.warning("%s cannot evaluate: %s", self._member, error)
            values, count = {}, 0
        now = (time.monotonic(), self._client.sent, self._client.received)
        since, self._since = self._since, now
        self._rows[str(number)] = {
            "round": str(number),
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


def read_metrics(path: Path) -> dict[str, dict[str, str]]:
    """Return the lines of a file by round; a damaged one is begun anew."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("round") or "").isdigit()]
    except (FileNotFoundError, UnicodeDecodeError, csv.Error):
        return {}
    return {row["round"]: {k: v for k, v in row.items() if k and v} for row in rows}
