"""``tally lab``: compare recipes under attack, over many seeds, on as many cores as there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import Bar, print_document, print_grid, quiet_stdout, say, table
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.lab.sweep.folder import SweepFolder
    from tallystick.lab.sweep.summary import Line

__all__ = ["lab"]

lab = typer.Typer(help="Compare recipes under attack.", rich_markup_mode=None)
FORMAT = "tally.lab/1"

Names = list[str] | None
Out = Annotated[Path, typer.Option(metavar="DIR", help="The sweep's folder; it can go on there.")]


@lab.command()
def run(  # noqa: PLR0917 - one argument per documented flag
    out: Out,
    recipes: Annotated[
        Names, typer.Option(metavar="A,B", help="Recipes, by commas; all by default.")
    ] = None,
    attacks: Annotated[
        Names,
        typer.Option(
            metavar="X:4=3,Y=3", help="One attack a case, by commas; see `tally lab list`."
        ),
    ] = None,
    data: Annotated[
        Names, typer.Option(metavar="NAME|FILE.csv", help="Tables, by commas; digits by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The CSV files' column to predict.")
    ] = None,
    partition: Annotated[
        Names, typer.Option(metavar="iid|dirichlet:A", help="How rows are dealt, by commas.")
    ] = None,
    members: Annotated[int, typer.Option(min=1, help="How many organisations.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are cores by default.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to compute on instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Run every recipe under every attack, on all tables and partitions, over all seeds.

    What is finished stays: the same command with the same --out goes on from there.
    """
    if workers is not None and dask is not None:
        msg = "--workers and --dask exclude each other: a cluster has the workers it has"
        raise ConfigError(msg, hint="leave one of them out")
    from tallystick.lab.bench.machine import usable_cores
    from tallystick.lab.sweep import on_dask, on_this_machine, plan_sweep, run_sweep

    with quiet_stdout(), Bar() as bar:
        sweep = plan_sweep(
            _listed(recipes),
            _listed(attacks),
            _tables(data),
            _listed(partition),
            target=target,
            members=members,
            rounds=rounds,
            seeds=seeds,
            seed=seed,
        )
        who = on_this_machine(workers or usable_cores()) if dask is None else on_dask(dask)
        folder = run_sweep(sweep, out, who, bar)
    _report(folder, json=json)


@lab.command()
def show(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep's folder.")],
    json: Json = False,
) -> None:
    """Show what a sweep has come to so far."""
    from tallystick.lab.sweep import SweepFolder

    _report(SweepFolder.open(out), json=json)


@lab.command("list")
def list_(json: Json = False) -> None:
    """List recipes, attacks with what their authors know, tables and partitions."""
    from tallystick.lab.sweep.catalogue import catalogue

    found = catalogue()
    if json:
        print_document({"format": FORMAT, "ok": True, **found})
        return
    for kind, entries in found.items():
        say(f"{kind}:")
        for line in table(_entries(entries)):
            say(line)
        say()


def _entries(entries: list[dict[str, str]]) -> Iterable[tuple[str, str]]:
    for entry in entries:
        strength = f":{entry['strength']}" if entry.get("strength") else ""
        yield f"  {entry['name']}{strength}", f"{entry['says']} {entry.get('author', '')}".strip()


def _listed(given: Names) -> list[str]:
    """Return names that were given by commas, by repeating the option, or both."""
    return [name.strip() for text in given or [] for name in text.split(",") if name.strip()]


def _tables(given: Names) -> list[str]:
    """Return tables' names as `_listed` does; a file's name may have a comma in it."""
    return [
        name
        for text in given or []
        for name in ([text] if Path(text).exists() else _listed([text]))
    ]


def _report(folder: SweepFolder, *, json: bool) -> None:
    from tallystick.lab.sweep.plots import plot_names
    from tallystick.lab.sweep.summary import summarise
    from tallystick.lab.sweep.tables import RESULTS, SUMMARY, TIMINGS, line_document

    results = folder.results()
    lines = summarise(results)
    names = (RESULTS, TIMINGS, SUMMARY, *plot_names(folder.sweep))
    written = [folder.path / name for name in names if (folder.path / name).exists()]
    total = len(folder.sweep.cells)
    if json:
        document = {
            "format": FORMAT,
            "ok": True,
            "complete": len(results) == total,
            "cells": total,
            "finished": len(results),
            "sweep": folder.sweep.to_json(),
            "summary": [line_document(line) for line in lines],
            "files": {"out": str(folder.path), **{path.name: str(path) for path in written}},
        }
        print_document(document)
        return
    sweep = folder.sweep
    say(
        f"{len(results)} of {total} cells: {sweep.members} members, {sweep.rounds} rounds, "
        f"{len(sweep.seeds)} seeds from {sweep.seeds[0]}. "
        "Each is a simulation in one process: it shows mechanisms and proves nothing to others."
    )
    _tell(sweep.recipes, lines)
    for path in written:
        say(str(path))


def _tell(recipes: tuple[str, ...], lines: list[Line]) -> None:
    """Print one table a setting of what the models are worth, and one of who was refused."""
    settings = dict.fromkeys((line.data, line.partition) for line in lines)
    for data, partition in settings:
        here = [line for line in lines if (line.data, line.partition) == (data, partition)]
        shows = f"{data}, {partition}"
        _grid(f"{shows}: accuracy of the final model, mean [worst seed]", recipes, here, _worth)
        _grid(f"{shows}: updates refused, honest / malicious", recipes, here, _refused)
    for recipe in recipes:
        own = [line for line in lines if line.recipe == recipe]
        if own:
            say(_worst_of(own))


def _worst_of(lines: list[Line]) -> str:
    """Return where a recipe does worst, and whom it treats worst."""
    low = min(lines, key=lambda line: line.accuracy.low if line.accuracy else 1.0)
    told = f"{low.recipe} is at its worst under {low.attack} on {low.data}, {low.partition}"
    judged = [(line, line.worst) for line in lines if line.worst is not None]
    if not judged:
        return f"{told}; no honest update was refused"
    line, worst = max(judged, key=lambda found: found[1].share)
    return (
        f"{told}; it treats {worst.member} worst: {worst.refused} of {worst.updates} refused under "
        f"{line.attack} on {line.data}, {line.partition}, seed {worst.seed}"
    )


def _grid(title: str, recipes: tuple[str, ...], lines: list[Line], cell: Any) -> None:  # noqa: ANN401
    found = {(line.attack, line.recipe): line for line in lines}
    rows = [
        [attack, *(cell(found.get((attack, recipe))) for recipe in recipes)]
        for attack in dict.fromkeys(line.attack for line in lines)
    ]
    print_grid(title, ["attack", *recipes], rows)


def _worth(line: Line | None) -> str:
    if line is None or line.accuracy is None:
        return ""
    success = "" if line.success is None else f", attack {line.success.mean:.0%}"
    return f"{line.accuracy.mean:.3f} [{line.accuracy.low:.3f}]{success}"


def _refused(line: Line | None) -> str:
    if line is None:
        return ""
    shares = (line.honest.share, line.malicious.share)
    return " / ".join("-" if share is None else f"{share:.1%}" for share in shares)
