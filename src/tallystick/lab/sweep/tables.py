"""A sweep's tables as CSV: what every cell came to, what it took, and the summary.

``results.csv`` is a function of the sweep, to the byte, whatever interrupted it and whoever
computed it; what differs from run to run is in ``timings.csv``.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from tallystick.lab.sweep.folder import write_whole
from tallystick.lab.sweep.summary import Line, name_of, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tallystick.lab.sweep.summary import Side, Spread

__all__ = ["RESULTS", "SUMMARY", "TIMINGS", "line_document", "write_tables"]

RESULTS, TIMINGS, SUMMARY = "results.csv", "timings.csv", "summary.csv"
CELL = ("recipe", "attack", "data", "partition", "seed")
COLUMNS = (
    "round",
    "accuracy",
    "attack_success",
    "accepted_honest",
    "refused_honest",
    "accepted_malicious",
    "refused_malicious",
)
TOOK = ("seconds", "cpu_seconds", "cpu", "cores", "python", "numpy")
DIGITS = 6  # of what is not a count; a test row of a million would show


def write_tables(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the three tables of finished cells, given in canonical order."""
    rows = (
        (*_cell(result), *(row[column] for column in COLUMNS))
        for result in results
        for row in result["rounds"]
    )
    _write(folder / RESULTS, (*CELL, *COLUMNS), rows)
    took = ((*_cell(result), *(result["timing"][name] for name in TOOK)) for result in results)
    _write(folder / TIMINGS, (*CELL, *TOOK), took)
    lines = [line_document(line) for line in summarise(results)]
    _write(folder / SUMMARY, list(lines[0]) if lines else (), (line.values() for line in lines))


def line_document(line: Line) -> dict[str, Any]:
    """Return a line of the summary by column."""
    worst = line.worst
    return {
        "recipe": line.recipe,
        "attack": line.attack,
        "data": line.data,
        "partition": line.partition,
        "seeds": line.seeds,
        **_spread("accuracy", line.accuracy, worst="low"),
        **_spread("attack_success", line.success, worst="high"),
        "void_rounds": line.void,
        **_side("honest", line.honest),
        **_side("malicious", line.malicious),
        "worst_treated_member": None if worst is None else worst.member,
        "worst_treated_seed": None if worst is None else worst.seed,
        "worst_treated_refused": None if worst is None else worst.refused,
        "worst_treated_updates": None if worst is None else worst.updates,
    }


def _spread(name: str, found: Spread | None, *, worst: str) -> dict[str, float | None]:
    return {
        f"{name}_mean": None if found is None else round(found.mean, DIGITS),
        f"{name}_worst": None if found is None else round(getattr(found, worst), DIGITS),
        f"{name}_spread": None if found is None else round(found.width, DIGITS),
    }


def _side(name: str, side: Side) -> dict[str, Any]:
    return {
        f"{name}_updates": side.updates,
        f"{name}_refused": side.refused,
        f"{name}_refused_share": None if side.share is None else round(side.share, DIGITS),
        f"{name}_reasons": dict(side.reasons),
    }


def _cell(result: Mapping[str, Any]) -> tuple[Any, ...]:
    return *name_of(result), result["cell"]["seed"]


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_text(value) for value in row] for row in rows])
    write_whole(path, text.getvalue().encode())


def _text(value: Any) -> str:  # noqa: ANN401 - a number, a name, nothing, or counts by reason
    if value is None:
        return ""
    if isinstance(value, dict):
        return "; ".join(f"{reason} {count}" for reason, count in value.items())
    return repr(round(value, DIGITS)) if isinstance(value, float) else str(value)
