"""A consortium on this machine: founded once, whatever cuts that short, and outlived by no node."""

import shutil
import subprocess
import sys

import pytest
from support.commands import environment
from support.nodes import until

from tallystick.errors import UnavailableError
from tallystick.federation.network_folder import GENESIS, SETTINGS, read_genesis
from tallystick.lab import consortium as module
from tallystick.lab.consortium import Consortium
from tallystick.node.processes import started_at

NAMES = ("east", "north")
# Starts a node that only watches whoever started it, and then waits.
RUN = """
import sys, time
from pathlib import Path
from tallystick.lab.consortium import Consortium
consortium = Consortium(Path(sys.argv[1]), ("north",))
consortium.programs["north"] = (sys.executable, "-c", sys.argv[2])
consortium.start("north")
print(consortium.pids("north")["node"], flush=True)
time.sleep(60)
"""
NODE = """
import time
from tallystick.node.parent import leave_with_parent
leave_with_parent()
print("serving at once", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("cut", ["before the genesis", "before a node", "within a node"])
def test_a_founding_that_was_cut_short_is_finished_by_the_next(cut, tmp_path):
    first = Consortium(tmp_path, NAMES)
    if cut == "before the genesis":
        (tmp_path / "network" / GENESIS).unlink()
        (tmp_path / "network" / "north" / SETTINGS).unlink()
        shutil.rmtree(tmp_path / "nodes")
    elif cut == "before a node":
        shutil.rmtree(first.node("north"))
    else:
        (first.node("north") / GENESIS).unlink()
    again = Consortium(tmp_path, NAMES)

    assert again.genesis == first.genesis
    assert all(read_genesis(again.node(name)) == first.genesis for name in NAMES)


def test_a_founding_may_take_other_ports_than_the_attempt_before(tmp_path, monkeypatch):
    Consortium(tmp_path, NAMES)
    (tmp_path / "network" / GENESIS).unlink()
    shutil.rmtree(tmp_path / "nodes")
    monkeypatch.setattr(module, "free_ports", lambda _: 40_000)
    again = Consortium(tmp_path, NAMES)

    assert "40000" in (again.node("east") / SETTINGS).read_text()


@pytest.mark.network
def test_no_node_outlives_who_started_it_however_that_ends(tmp_path):
    with subprocess.Popen(
        (sys.executable, "-c", RUN, str(tmp_path), NODE),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        is_running = started_at(pid) > 0
        process.kill()

    assert is_running
    until(lambda: not started_at(pid))


@pytest.mark.network
def test_a_node_that_does_not_start_is_said_to(tmp_path):
    network = Consortium(tmp_path, NAMES)
    network.programs["north"] = (sys.executable, "-c", "")
    with pytest.raises(UnavailableError, match="'north' does not start"):
        network.start("north")
