"""Sweeps: every recipe under every attack, on as many cores or machines as there are."""

from tallystick.lab.sweep.folder import SweepFolder
from tallystick.lab.sweep.plan import Cell, Sweep, plan_sweep
from tallystick.lab.sweep.run import run_sweep
from tallystick.lab.sweep.summary import Line, summarise
from tallystick.lab.sweep.workers import on_dask, on_this_machine

__all__ = [
    "Cell",
    "Line",
    "Sweep",
    "SweepFolder",
    "on_dask",
    "on_this_machine",
    "plan_sweep",
    "run_sweep",
    "summarise",
]
