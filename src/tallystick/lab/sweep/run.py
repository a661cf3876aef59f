"""Run a sweep: what is finished is skipped, what finishes is kept, whatever interrupts it."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tallystick.lab.sweep.cell import check_cell, run_cell
from tallystick.lab.sweep.folder import SweepFolder
from tallystick.lab.sweep.plots import check_plotting, write_plots
from tallystick.lab.sweep.summary import summarise
from tallystick.lab.sweep.tables import write_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tallystick.lab.sweep.plan import Cell, Sweep

__all__ = ["check_sweep", "finish_sweep", "run_sweep"]

AHEAD = 1024  # cells handed out before their turn: enough for any cluster, few to call back


def check_sweep(sweep: Sweep) -> None:
    """Find out, before hours are spent, that every combination can run.

    Raises
    ------
    ConfigError
        Names what does not fit.
    MissingExtraError
        scikit-learn or matplotlib is not installed.
    """
    check_plotting()
    for cell in replace(sweep, seeds=sweep.seeds[:1]).cells:
        check_cell(cell)


def run_sweep(
    sweep: Sweep,
    out: Path,
    workers: AbstractContextManager[Executor],
    progress: Callable[[str, int, int], None],
    *,
    ahead: int = AHEAD,
) -> SweepFolder:
    """Run the cells that are not finished yet and write tables and plots.

    Parameters
    ----------
    out
        The sweep's folder; the same call goes on where an earlier one stopped.
    workers
        Who computes: see `tallystick.lab.sweep.workers`.
    ahead
        How many cells are handed out at a time.

    Raises
    ------
    ConfigError
        ``out`` holds something else, or a combination cannot run.
    """
    if not SweepFolder.is_one(out):
        check_sweep(sweep)
    folder = SweepFolder.claim(out, sweep)
    missing = [cell for cell in sweep.cells if folder.result(cell) is None]
    total = len(sweep.cells)
    if missing:
        with workers as executor:
            done = total - len(missing)
            progress("running cells", done, total)
            for cell, result in _compute(executor, missing, ahead):
                folder.keep(cell, result)
                done += 1
                progress("running cells", done, total)
    finish_sweep(folder)
    return folder


def finish_sweep(folder: SweepFolder) -> None:
    """Write the tables and plots of a sweep whose cells are all there."""
    results = folder.results()
    write_tables(folder.path, results)
    write_plots(folder.path, folder.sweep, summarise(results))


def _compute(
    executor: Executor, cells: list[Cell], ahead: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield each cell with its result, as they finish."""
    waiting = list(reversed(cells))
    running: dict[Future[dict[str, Any]], Cell] = {}
    while waiting or running:
        while waiting and len(running) < ahead:
            cell = waiting.pop()
            future = executor.submit(run_cell, cell)
            running[future] = cell
            if future.done():  # computed on the spot: kept before the next one begins
                break
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            yield running.pop(future), future.result()
