"""What the rounds' models are worth at every site, as a table."""

from __future__ import annotations

import csv
import logging
from typing import TYPE_CHECKING

from tallystick.federation.arrays import TrainerError
from tallystick.federation.desk import config_of, settings_of
from tallystick.federation.trainer import evaluate_once
from tallystick.tensors.model import open_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.collect.rows import ModelRef, TaskRow
    from tallystick.ledger.terms import Terms
    from tallystick.tensors.spec import Blobs

__all__ = ["EVERYBODY", "Evaluated", "evaluate_rounds", "longest_turn", "write_metrics"]

LOG = logging.getLogger(__name__)
EVERYBODY = "all"

Evaluated = tuple[int, str, int, dict[str, float]]


def evaluate_rounds(
    trainers: Mapping[str, Trainer],
    blobs: Blobs,
    row: TaskRow,
    terms: Terms,
    models: list[tuple[int, ModelRef]],
) -> list[Evaluated]:
    """Evaluate each completed round's model at every site, and all sites together."""
    rows: list[Evaluated] = []
    known: dict[bytes, list[tuple[str, int, dict[str, float]]]] = {}
    for number, model in models:
        if model.root not in known:
            known[model.root] = _evaluate(trainers, blobs, row, terms, (number, model))
        sites = known[model.root]
        rows.extend((number, member, count, values) for member, count, values in sites)
        total = sum(count for _, count, _ in sites)
        names = {name for _, _, values in sites for name in values}
        means = {
            name: sum(values.get(name, 0.0) * count for _, count, values in sites) / total
            for name in sorted(names)
            if total
        }
        rows.append((number, EVERYBODY, total, means))
    return rows


def _evaluate(
    trainers: Mapping[str, Trainer],
    blobs: Blobs,
    row: TaskRow,
    terms: Terms,
    made: tuple[int, ModelRef],
) -> list[tuple[str, int, dict[str, float]]]:
    number, model = made
    if terms.model is None:
        return []
    arrays = open_model(blobs.open(model.root), terms.model.parameters).arrays()
    settings, limit = settings_of(terms), longest_turn(terms)
    found: list[tuple[str, int, dict[str, float]]] = []
    for member, trainer in sorted(trainers.items()):
        config = config_of(settings, row.id, number, member)
        try:
            values, count = evaluate_once(trainer, arrays, config, limit_seconds=limit)
        except TrainerError as error:
            LOG.warning("%s cannot evaluate: %s", member, error)
            continue
        found.append((member, count, values))
    return found


def longest_turn(terms: Terms) -> float | None:
    """Return how many seconds a member's own turn takes at most, `None` where it has none."""
    windows = [
        stage.within for stage in terms.round if stage.rule.startswith(("submit/", "score/"))
    ]
    return max(windows) / 1000 if windows else None


def write_metrics(path: Path, rows: list[Evaluated]) -> None:
    """Write one line a round and site, and one for all sites together, as CSV."""
    names = sorted({name for _, _, _, values in rows for name in values})
    temporary = path.with_name(".metrics.csv")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["round", "member", "examples", *names])
        for number, member, count, values in rows:
            cells = [repr(values[name]) if name in values else "" for name in names]
            writer.writerow([number, member, count, *cells])
    temporary.replace(path)
