"""Write the measured part of `docs/lab.md` from finished sweeps' folders.

``python scripts/make_lab.py DIR…``, or `make lab` for the sweeps and the page. Every number comes
from the folders; nothing between the page's two marks is written by hand.
"""

from __future__ import annotations

import csv
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tallystick.errors import ConfigError
from tallystick.lab.sweep import Line, Sweep, SweepFolder, summarise
from tallystick.lab.sweep.tables import TIMINGS

__all__ = ["measured_part", "rewritten"]

PAGE = Path(__file__).parent.parent / "docs" / "lab.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
OURS = "standard"

Pick = Callable[[Line], str]


def measured_part(folders: Sequence[SweepFolder]) -> str:
    """Return the page's measured part.

    Raises
    ------
    ConfigError
        Cells are missing: a table of some of them would mislead.
    """
    parts: list[str] = []
    lines: list[Line] = []
    for folder in folders:
        results = folder.results()
        if len(results) < len(folder.sweep.cells):
            msg = f"{len(results)} of {len(folder.sweep.cells)} cells of {folder.path} are finished"
            raise ConfigError(msg, hint="run the sweep to its end first")
        found = summarise(results)
        lines += found
        parts.append(_heading(folder))
        for data, partition in dict.fromkeys((line.data, line.partition) for line in found):
            here = [line for line in found if (line.data, line.partition) == (data, partition)]
            parts.append(f"### {data}, {partition}\n\n" + _tables(folder.sweep, here))
    parts += [_where_ours_is_worst(lines), _where_others_are_better(lines), _treated(lines)]
    return "\n".join(part for part in parts if part)


def rewritten(page: str, part: str) -> str:
    """Return ``page`` with ``part`` between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{part}\n{END}{rest.split(END)[1]}"


def _heading(folder: SweepFolder) -> str:
    sweep = folder.sweep
    with (folder.path / TIMINGS).open(encoding="utf-8", newline="") as file:
        took = list(csv.DictReader(file))
    machines = sorted({f"{row['cpu']}, {row['cores']} cores, NumPy {row['numpy']}" for row in took})
    return (
        f"```\n$ {_command(sweep)}\n```\n\n"
        f"{len(sweep.cells)} cells by tallystick {sweep.version} on {'; '.join(machines)}. "
        f"Seconds of processor time a cell, medians: {', '.join(_costs(sweep, took))}.\n"
    )


def _costs(sweep: Sweep, took: list[dict[str, str]]) -> Iterable[str]:
    for recipe in sweep.recipes:
        seconds = [float(row["cpu_seconds"]) for row in took if row["recipe"] == recipe]
        yield f"{recipe} {statistics.median(seconds):.1f}"


def _command(sweep: Sweep) -> str:
    words = [
        *("tally", "lab", "run", "--recipes", ",".join(sweep.recipes)),
        *("--attacks", ",".join(sweep.attacks)),
        *("--data", ",".join(data.label for data in sweep.data)),
        *("--partition", ",".join(sweep.partitions)),
        *("--members", str(sweep.members), "--rounds", str(sweep.rounds)),
        *("--seeds", str(len(sweep.seeds)), "--seed", str(sweep.seeds[0]), "--out", "DIR"),
    ]
    return shlex.join(words)


def _tables(sweep: Sweep, lines: list[Line]) -> str:
    accuracy = _grid(sweep, lines, _accuracy)
    refused = _grid(sweep, lines, _refused)
    return (
        f"Accuracy of the final model, mean [worst seed]:\n\n{accuracy}\n"
        f"Share of updates refused, honest members' / attackers':\n\n{refused}"
    )


def _grid(sweep: Sweep, lines: list[Line], pick: Pick) -> str:
    found = {(line.attack, line.recipe): line for line in lines}
    rows = [
        [f"`{attack}`", *(pick(found[attack, recipe]) for recipe in sweep.recipes)]
        for attack in sweep.attacks
    ]
    return _table(["attack", *sweep.recipes], rows)


def _where_ours_is_worst(lines: list[Line]) -> str:
    """Return, for each attack, the setting in which `standard` does worst, beside the best one."""
    rows: list[list[str]] = []
    for attack in dict.fromkeys(line.attack for line in lines):
        ours = [line for line in lines if line.attack == attack and line.recipe == OURS]
        if not ours:
            return ""
        worst = min(ours, key=_mean)
        best = max((line for line in lines if line.name[1:] == worst.name[1:]), key=_mean)
        rows.append(
            [
                f"`{attack}`",
                f"{worst.data}, {worst.partition}",
                _accuracy(worst),
                _refused(worst),
                f"{best.recipe} {_accuracy(best)}",
            ]
        )
    header = ["attack", "setting", OURS, "refused", "best there"]
    return f"### Where `{OURS}` does worst, by attack\n\n{_table(header, rows)}"


def _where_others_are_better(lines: list[Line]) -> str:
    """Return every combination in which another recipe's mean is above that of `standard`."""
    ours = {line.name[1:]: line for line in lines if line.recipe == OURS}
    better = [
        (_mean(line) - _mean(ours[line.name[1:]]), line)
        for line in lines
        if line.name[1:] in ours and _mean(line) > _mean(ours[line.name[1:]])
    ]
    if not ours:
        return ""
    heading = f"### Where another recipe's mean is above that of `{OURS}`\n\n"
    if not better:
        return heading + "Nowhere in this sweep.\n"
    rows = [
        [
            f"`{line.attack}`",
            f"{line.data}, {line.partition}",
            f"{line.recipe} {_accuracy(line)}",
            _accuracy(ours[line.name[1:]]),
            f"{100 * by:.1f} points",
        ]
        for by, line in sorted(better, key=lambda found: -found[0])
    ]
    return heading + _table(["attack", "setting", "recipe", OURS, "by"], rows)


def _treated(lines: list[Line]) -> str:
    """Return each recipe's worst-treated honest member, and why its updates were refused."""
    rows: list[list[str]] = []
    for recipe in dict.fromkeys(line.recipe for line in lines):
        judged = [(line, line.worst) for line in lines if line.recipe == recipe and line.worst]
        if not judged:
            rows.append([recipe, "nobody", "", "", ""])
            continue
        line, worst = max(judged, key=lambda found: found[1].share)
        reasons = ", ".join(f"{name} {count}" for name, count in line.honest.reasons.items())
        rows.append(
            [
                recipe,
                worst.member,
                f"{worst.refused} of {worst.updates}",
                f"`{line.attack}` on {line.data}, {line.partition}, seed {worst.seed}",
                reasons,
            ]
        )
    header = ["recipe", "member", "refused", "under", "reasons, all honest members there"]
    return f"### The honest member that each recipe treats worst\n\n{_table(header, rows)}"


def _mean(line: Line) -> float:
    return line.accuracy.mean if line.accuracy else 0.0


def _accuracy(line: Line) -> str:
    if line.accuracy is None:
        return "-"
    success = "" if line.success is None else f"; attack succeeds {line.success.mean:.0%}"
    return f"{line.accuracy.mean:.3f} [{line.accuracy.low:.3f}]{success}"


def _refused(line: Line) -> str:
    shares = (line.honest.share, line.malicious.share)
    return " / ".join("-" if share is None else f"{share:.1%}" for share in shares)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the page from the folders that the command line names."""
    if not sys.argv[1:]:
        sys.exit("usage: make_lab.py DIR…")
    try:
        part = measured_part([SweepFolder.open(Path(name)) for name in sys.argv[1:]])
    except ConfigError as error:
        sys.exit(f"{error} ({error.hint})")
    text = rewritten(PAGE.read_text(encoding="utf-8"), part)
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote {PAGE.relative_to(PAGE.parent.parent)}")


if __name__ == "__main__":
    main()
