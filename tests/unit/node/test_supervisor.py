"""What a supervisor keeps running: restarts, endings, and that nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from support.commands import environment

from tallystick.errors import UnavailableError
from tallystick.node.processes import (
    ProcessState,
    end_leftovers,
    note_processes,
    process_states,
    started_at,
)
from tallystick.node.program import MOST_HOPELESS, Backoff, Child, Program
from tallystick.node.supervisor import supervise
from tallystick.storage.lock import Lock

pytestmark = pytest.mark.network

SUPERVISE = """
import json, logging, sys
from pathlib import Path
from tallystick.node.program import Backoff, Program
from tallystick.node.supervisor import supervise

logging.basicConfig(level=logging.INFO)
folder = Path(sys.argv[1])
first, second = json.loads(sys.argv[2])
programs = [
    Program("application", tuple(first), ready=folder / "ready", hopeless=frozenset({2})),
    Program("cometbft", tuple(second), log=folder / "second.log"),
]
sys.exit(supervise(folder, programs, backoff=Backoff(0.05, 0.4, 60.0), grace_seconds=2.0))
"""
# Says where it is, is ready, and then waits; on SIGTERM it says so and ends.
APPLICATION = """
import pathlib, signal, sys, time
from tallystick.node.parent import leave_with_parent

folder = pathlib.Path(sys.argv[1])
def end(*_):
    with (folder / "order").open("a") as file:
        file.write("application\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
leave_with_parent()
print("serving at", time.time_ns(), flush=True)
print("and more", flush=True)
(folder / "ready").touch()
while True:
    time.sleep(0.1)
"""
ENGINE = APPLICATION.replace('"application\\n"', '"cometbft\\n"').replace(
    '(folder / "ready").touch()', 'assert (folder / "ready").exists()'
)
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
print("grandchild", child.pid, flush=True)
while True:
    time.sleep(1)
"""
FAILING = "import sys; print('no luck', sys.argv[1], flush=True); sys.exit(7)"


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, folder, first=APPLICATION, second=ENGINE):
        self.folder = folder
        programs = [[sys.executable, "-c", text, str(folder)] for text in (first, second)]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, str(folder), json.dumps(programs)],
                stdout=out,
                stderr=err,
                env=environment(),
            )
        self.seen = set()

    def state(self, name):
        found = process_states(self.folder).get(name, ProcessState())
        self.seen.add(found.pid)
        return found

    def wait_for(self, true):
        """Return once something is true; it has a long time for it."""
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.02)

    def run(self, restarts=(0, 0)):
        """Return the numbers of both processes once they run and were restarted so often."""
        names = ("application", "cometbft")

        def both():
            states = [self.state(name) for name in names]
            return all(
                each.running and each.restarts >= least
                for each, least in zip(states, restarts, strict=True)
            )

        self.wait_for(both)
        return [self.state(name).pid for name in names]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    @property
    def out(self):
        return (self.folder / "out").read_text()

    @property
    def errors(self):
        return (self.folder / "err").read_text()

    def close(self):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        for pid in self.seen - {0}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def supervised(tmp_path):
    made = []

    def start(*programs):
        made.append(Supervised(tmp_path, *programs))
        return made[-1]

    yield start
    for each in made:
        each.close()


def is_gone(*pids):
    return lambda: not any(started_at(pid) for pid in pids)


def test_the_second_starts_once_the_first_is_ready_and_what_runs_is_written_down(supervised):
    running = supervised()
    pids = running.run()

    assert all(started_at(pid) for pid in pids)
    assert "AssertionError" not in (running.folder / "second.log").read_text()
    assert running.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_last_first_and_leaves_nothing(supervised, number):
    running = supervised()
    pids = running.run()
    running.wait_for(lambda: "serving" in (running.folder / "second.log").read_text())
    running.process.send_signal(number)
    status = running.end(number)  # a second one changes nothing

    assert status == 0
    assert is_gone(*pids)()
    assert (running.folder / "order").read_text() == "cometbft\napplication\n"
    assert not any(each.running or each.pid for each in process_states(running.folder).values())


def test_a_killed_engine_starts_again_beside_the_same_application(supervised):
    running = supervised()
    first, second = running.run()
    os.kill(second, signal.SIGKILL)
    again = running.run((0, 1))

    assert again[0] == first
    assert again[1] != second
    assert "cometbft ended (SIGKILL)" in running.errors
    assert running.end() == 0


def test_a_killed_application_takes_the_engine_along_and_both_start_again(supervised):
    running = supervised()
    first, second = running.run()
    os.kill(first, signal.SIGKILL)
    again = running.run((1, 1))

    assert is_gone(first, second)()
    assert set(again).isdisjoint({first, second})
    assert running.end() == 0
    assert is_gone(*again)()


def test_the_first_line_of_the_application_is_said_once(supervised):
    running = supervised()
    first, _ = running.run()
    os.kill(first, signal.SIGKILL)
    running.run((1, 1))
    running.end()

    assert running.out.startswith("serving at ")
    assert running.out.count("\n") == 1
    assert running.errors.count("serving at ") == 1
    assert running.errors.count("and more") == 2


def test_a_killed_supervisor_leaves_no_child(supervised):
    running = supervised()
    pids = running.run()
    running.end(signal.SIGKILL)

    running.wait_for(is_gone(*pids))


def test_what_always_fails_is_tried_again_and_again_with_its_reason(supervised):
    running = supervised(APPLICATION, FAILING)
    running.wait_for(lambda: running.state("cometbft").restarts >= 4)

    assert running.process.poll() is None
    assert "cometbft ended (exit status 7); it starts again in 0.4 s: no luck" in running.errors
    assert running.state("application").restarts == 0
    assert running.end() == 0


def test_a_signal_during_a_pause_ends_at_once(supervised):
    running = supervised(FAILING)
    running.wait_for(lambda: "0.4 s" in running.errors)

    assert running.end() == 0


def test_a_program_that_cannot_start_is_tried_again(supervised, tmp_path):
    running = supervised()
    running.end()
    script = SUPERVISE.replace("tuple(first)", "('/nowhere/program',)")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), json.dumps([[], []])],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    lines = [process.stderr.readline() for _ in range(3)]
    process.terminate()
    process.communicate(timeout=30)

    assert all("application cannot start" in line for line in lines)
    assert process.returncode == 0


def test_an_application_whose_settings_are_wrong_is_not_tried_again(supervised):
    running = supervised("import sys; sys.exit(2)")

    assert running.process.wait(timeout=30) == 2


def test_an_application_that_is_ready_for_a_moment_is_not_tried_for_ever(supervised):
    is_ready = APPLICATION.replace("while True:", "time.sleep(0.2)\nsys.exit(2)\nwhile True:")
    running = supervised(is_ready)

    assert running.process.wait(timeout=30) == 2
    assert process_states(running.folder)["application"].restarts == MOST_HOPELESS - 1


def test_whoever_does_not_end_is_killed_with_what_it_started(supervised):
    running = supervised(APPLICATION, STUBBORN)
    pids = running.run()
    log = running.folder / "second.log"
    running.wait_for(lambda: "grandchild" in log.read_text())
    grandchild = int(log.read_text().split()[1])
    running.seen.add(grandchild)

    assert running.end() == 0
    running.wait_for(is_gone(*pids, grandchild))
    assert "cometbft did not end within 2 s: killed" in running.errors


def test_a_second_supervisor_of_a_folder_is_refused_and_harms_nobody(supervised):
    running = supervised()
    pids = running.run()
    other = Supervised(running.folder)

    assert other.process.wait(timeout=30) == 1
    assert "in use by another run" in other.errors
    assert all(started_at(pid) for pid in pids)
    running.end()


def test_a_copy_of_a_folder_whose_node_runs_is_refused_and_ends_nothing(tmp_path):
    own, copy = tmp_path / "own", tmp_path / "copy"
    own.mkdir()
    with subprocess.Popen(["sleep", "60"]) as left:
        try:
            note_processes(own, {"x": ProcessState(left.pid, started_at(left.pid), running=True)})
            shutil.copytree(own, copy)
            with pytest.raises(UnavailableError, match="is a copy"):
                end_leftovers(copy)
            assert left.poll() is None
            own.rename(tmp_path / "moved")
            assert end_leftovers(tmp_path / "moved") == [left.pid]
        finally:
            left.kill()


def test_only_what_an_earlier_run_left_is_ended(tmp_path):
    left, other = (subprocess.Popen(["sleep", "1000"]) for _ in range(2))
    mine = ProcessState(left.pid, started_at(left.pid), running=True)
    not_mine = ProcessState(other.pid, started_at(other.pid) - 1, running=True)
    note_processes(tmp_path, {"application": mine, "cometbft": not_mine})

    try:
        assert process_states(tmp_path) == {"application": mine, "cometbft": not_mine}
        assert end_leftovers(tmp_path) == [left.pid]
        assert left.wait(timeout=10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for each in (left, other):
            each.kill()
            each.wait()
    assert end_leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"boot": 1, "processes": {"a": 3}}', '{"processes": {"a": {"x": 1}}}']
)
def test_a_damaged_note_names_no_process(tmp_path, text):
    (tmp_path / "processes.json").write_text(text)

    assert process_states(tmp_path) == {}
    assert end_leftovers(tmp_path) == []


def test_a_folder_in_use_is_refused(tmp_path):
    lock = Lock(tmp_path / "supervisor")
    with pytest.raises(UnavailableError, match="in use"):
        supervise(tmp_path, [])
    lock.close()


def test_pauses_double_up_to_the_most_and_begin_again_after_health():
    backoff = Backoff(0.2, 1.0, 60.0)
    pauses = [0.0]
    for lived in (1, 1, 1, 1, 59, 60, 1):
        pauses.append(backoff.after(pauses[-1], lived))

    assert pauses[1:] == [0.2, 0.4, 0.8, 1.0, 1.0, 0.2, 0.4]


LEAVING = """
import sys
from tallystick.node.parent import leave_with_parent

leave_with_parent()
print("watching", flush=True)
sys.stdin.read()
"""


def test_a_child_leaves_when_the_pipe_to_its_parent_closes():
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", LEAVING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(reader,),
        env=environment(TALLY_PARENT_PIPE=str(reader)),
    )
    os.close(reader)
    with child.stdin, child.stdout:
        assert child.stdout.readline() == b"watching\n"
        assert child.poll() is None
        os.close(writer)

        assert child.wait(timeout=30) == 1


def test_a_log_is_kept_small_with_what_came_before(tmp_path, monkeypatch):
    monkeypatch.setattr("tallystick.node.program.MOST_LOG_BYTES", 10)
    log = tmp_path / "log"
    child = Child(Program("cometbft", ("x",), log=log), Backoff())
    child.trim()
    log.write_text("0123456789")
    child.trim()
    assert log.read_text() == "0123456789"
    with log.open("a") as file:
        print("more", file=file, flush=True)
        child.trim()
        print("later", file=file)

    assert log.read_text() == "later\n"
    assert (tmp_path / "log.1").read_text() == "0123456789more\n"
