"""A supervisor that knows its plan and nothing else, and what is logged by a node's processes."""

import errno
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import environment

from tallystick.errors import ConfigError, UnavailableError, VerificationError
from tallystick.failure import describe
from tallystick.node import application
from tallystick.node.engine import Meeting, application_command, fixed_port
from tallystick.node.logs import log_to_stderr
from tallystick.node.parent import PIPE
from tallystick.node.plan import Plan
from tallystick.node.processes import process_states, started_at
from tallystick.node.program import Program

BECOME = """
import sys
from pathlib import Path
import numpy
from tallystick.node.plan import Plan, become_supervisor
from tallystick.node.program import Program

folder = Path(sys.argv[1])
command = (sys.executable, "-c", sys.argv[2])
program = Program("look", command, ready=folder / "never", hopeless=frozenset({7}))
become_supervisor(Plan(folder, (program,)))
"""
LOOK = """
import os, sys
print("numpy" in open(f"/proc/{os.getppid()}/maps").read(), os.getppid(), flush=True)
sys.exit(7)
"""


def test_a_plan_is_the_same_on_the_other_side():
    programs = (
        Program("one", ("a", "b c"), ready=Path("/x/ready"), hopeless=frozenset({2, 3})),
        Program("two", ("d",), log=Path("/x/log"), environment={"PATH": "/bin", "Ü": '"'}),
    )
    plan = Plan(Path("home"), programs, json_logs=True)

    assert Plan.from_text(plan.to_text()) == plan


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_who_supervises_is_the_same_process_without_what_it_took_to_find_out(tmp_path):
    process = subprocess.Popen(
        (sys.executable, "-c", BECOME, str(tmp_path), LOOK),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    said, _ = process.communicate(timeout=60)

    assert said.split() == ["False", str(process.pid)]


def test_who_supervises_ends_with_whoever_started_it(tmp_path):
    reader, writer = os.pipe()
    wait = "import time; print('waiting', flush=True); time.sleep(60)"
    with subprocess.Popen(
        (sys.executable, "-c", BECOME, str(tmp_path), wait),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        pass_fds=(reader,),
        env=environment(**{PIPE: str(reader)}),
    ) as process:
        os.close(reader)
        assert process.stdout is not None
        said = process.stdout.readline()
        (running,) = process_states(tmp_path).values()
        os.close(writer)
        status = process.wait(30)

    assert (said, status) == ("waiting\n", 0)
    assert started_at(running.pid) == 0


def test_nothing_in_the_folder_where_it_is_started_is_run(tmp_path):
    for name in ("json.py", "selectors.py", "signal.py", "tallystick.py"):
        (tmp_path / name).write_text("raise SystemExit('it was run')")
    command = application_command(
        tmp_path, Meeting(tmp_path, tmp_path / "s", 1, 2), host="", port=0, as_json=False
    )
    supervised, served = (
        subprocess.run(
            each,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
            check=False,
        )
        for each in (
            (sys.executable, "-P", "-c", BECOME, str(tmp_path), "import sys; sys.exit(7)"),
            command,
        )
    )

    assert supervised.returncode == 7, supervised.stderr
    assert served.returncode == 2, served.stderr
    assert "is no node's folder" in served.stderr


def test_a_second_supervisor_of_a_folder_says_why_it_ends(tmp_path):
    first = (sys.executable, "-c", BECOME, str(tmp_path), "print(1, flush=True); input()")
    with subprocess.Popen(
        first, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        second = subprocess.run(
            first, capture_output=True, text=True, timeout=60, env=environment(), check=False
        )
        process.terminate()

    assert second.returncode == 3
    assert second.stderr.startswith("tally: ")


def test_a_port_that_was_free_is_the_applications_for_good(tmp_path):
    port = fixed_port("127.0.0.1", 0)
    meeting = Meeting(tmp_path, tmp_path / "app.sock", 1, 2)
    command = application_command(tmp_path, meeting, host="::1", port=port, as_json=False)
    with socket.create_server(("127.0.0.1", port)):
        assert fixed_port("127.0.0.1", port) == port
        assert fixed_port("127.0.0.1", 0) not in {0, port}
    with pytest.raises(UnavailableError):
        fixed_port("192.0.2.1", 0)
    assert command[-4:] == ["--host", "::1", "--port", str(port)]


def test_logs_are_for_people_or_for_machines(capsys):
    log_to_stderr(as_json=True)
    logger = logging.getLogger("tallystick.node")
    try:
        logger.info("block %d", 7)
        log_to_stderr(as_json=False)
        logger.info("block %d", 8)
    finally:
        for name in ("tallystick", "uvicorn.error"):
            package = logging.getLogger(name)
            package.handlers, package.propagate = [], True
            package.setLevel(logging.NOTSET)
    machines, people = capsys.readouterr().err.splitlines()

    assert json.loads(machines)["message"] == "block 7"
    assert people.endswith("INFO tallystick.node: block 8")


ENDS = [
    (UnavailableError("the disk is away", hint="wait"), 3, "tally: the disk is away (wait)"),
    (ConfigError("no such key", hint="name it"), 2, "tally: no such key (name it)"),
    (VerificationError("not its root", hint="stop"), 1, "tally: not its root (stop)"),
    (OSError(errno.ENOSPC, "no space left"), 3, "tally: no space left (make room and try again)"),
    (sqlite3.DatabaseError("malformed"), 3, "tally: the ledger file cannot be used: malformed"),
    (KeyboardInterrupt(), 130, "tally: interrupted"),
]


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Return what runs the application's program, which fails as it is told to."""
    monkeypatch.setattr(application, "log_to_stderr", lambda **_: None)
    monkeypatch.setattr(logging.getLogger("tallystick"), "propagate", True)
    meeting = Meeting(tmp_path, tmp_path / "app.sock", 1, 2)

    def run(error, *options):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(application, "open_consortium", fail)
        arguments = ["application", str(tmp_path), "--meeting", meeting.to_text(), *options]
        monkeypatch.setattr(sys, "argv", arguments)
        return application.main()

    return run


@pytest.mark.parametrize(("error", "status", "said"), ENDS, ids=lambda each: type(each).__name__)
def test_an_application_ends_as_the_command_line_does(error, status, said, start, capsys, caplog):
    assert start(error) == status
    assert capsys.readouterr().err.startswith(said)
    assert start(error, "--json-logs") == status
    assert capsys.readouterr().err == ""
    assert caplog.messages[-1] == describe(error).sentence


def test_an_application_that_fails_by_a_bug_says_where_in_its_log(start, capsys, caplog):
    assert start(RuntimeError("odd")) == 4
    assert capsys.readouterr().err == ""
    assert caplog.records[-1].exc_info[1].args == ("odd",)
