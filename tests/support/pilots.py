"""Members of a pilot as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import tallystick as ts
from tallystick.lab.pilot import COMMAND
from tallystick.ledger.collect.rows import NAMES, TASKS
from tallystick.ledger.genesis import genesis_hash

TESTS = Path(__file__).parents[1]
SITE = "support.pilot_site:Site"


def start_member(pilot, folder, name, task, **arguments):
    """Start ``tally join`` for a member whose trainer is a `Site`; its output goes to a log."""
    given = [f"{key}={value}" for key, value in {"name": name, **arguments}.items()]
    settings = [part for text in given for part in ("--set", text)]
    key = str(pilot.home(name))
    command = (*COMMAND, "join", pilot.url, "--key", key, "--task", task, "--trainer", SITE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            (*command, *settings, "--verbose"), stdout=log, stderr=log, env=environment
        )


def report_of(network, task, name):
    """Return what verifying a member's bundle of a task says, replay and model file included."""
    out = network.home(name) / task
    return ts.verify(
        out / "run.tally",
        genesis=genesis_hash(network.genesis).hex(),
        model=out / "model.safetensors",
        replay=True,
    )


def row_of(pilot, task):
    """Return where a task stands on the node's ledger."""
    state = pilot.engine().state
    return state.get(TASKS, state.get(NAMES, task))
