"""Whatever goes wrong: an exit status, one sentence, and with --json one document."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import environment, execute

from tallystick.cli import main
from tallystick.cli.failure import wants_json
from tallystick.errors import (
    ConfigError,
    DecodeError,
    InvariantError,
    MissingExtraError,
    RejectedError,
    UnavailableError,
    VerificationError,
)
from tallystick.failure import describe

WRONG = [
    ["nope"],
    ["--nope"],
    ["run"],
    ["run", "--nope"],
    ["run", "a.toml", "b.toml"],
    ["run", "a.toml", "--rounds", "many"],
    ["run", "a.toml", "--rounds", "0"],
    ["run", "a.toml", "--seed", "-1"],
    ["run", "no-such-file.toml"],
    ["run", "/"],
    ["task"],
    ["task", "nope"],
    ["task", "new"],
    ["task", "new", "no-such-recipe"],
    ["task", "check", "no-such-file.toml"],
    ["verify"],
    ["verify", "no-such-file.tally"],
    ["verify", "no-such-file.tally", "--genesis", "0" * 64],
    ["verify", "/", "--genesis", "0" * 64],
    ["verify", "x", "--genesis", "not-hex"],
    ["verify", "x", "--genesis", "0" * 64, "--min-signers", "-1"],
    ["verify", "x", "--genesis", "0" * 64, "--checkpoint", "12"],
    ["verify", "x", "--genesis", "0" * 64, "--includes", "12"],
    ["explain", "no-such-file.tally"],
    ["explain", "http://node.north.example"],
    ["explain", "/"],
    ["log", "no-such-file.tally"],
    ["log", "http://node.north.example"],
    ["log", "/"],
    ["bench"],
    ["bench", "nope"],
    ["bench", "network", "--rule", "aggregate/mean/1"],
    ["bench", "round", "--against", "flower"],
    ["bench", "round", "--recipe", "nope"],
    ["bench", "round", "--transactions", "5"],
    ["bench", "aggregate", "--rule", "decide/all/1"],
    ["bench", "aggregate", "--rule", "nope/nope/1"],
    ["bench", "ledger", "--rule", "aggregate/mean/1"],
    ["bench", "proofs", "--members", "5"],
    ["bench", "ledger", "--repeat", "0"],
    ["demo", "--seeds", "3"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_bad_input_is_status_2_and_one_sentence_on_standard_error(tally, arguments):
    ran = tally(*arguments)

    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("tally: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_bad_input_with_json_is_one_document_and_nothing_else(tally, arguments):
    ran = tally(*arguments, "--json")

    assert ran.status == 2
    assert ran.error["message"]
    assert ran.error["hint"]
    assert ran.err == ""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (VerificationError("x"), 1, "verification-failed"),
        (ConfigError("x"), 2, "bad-input"),
        (DecodeError("x"), 2, "malformed"),
        (RejectedError("x"), 2, "rejected"),
        (MissingExtraError("demo", "this"), 2, "missing-extra"),
        (FileNotFoundError(2, "No such file", "x.csv"), 2, "bad-input"),
        (PermissionError(13, "Permission denied", "x.csv"), 2, "bad-input"),
        (OSError(28, "No space left on device"), 3, "unavailable"),
        (UnavailableError("x"), 3, "unavailable"),
        (sqlite3.DatabaseError("x"), 3, "unavailable"),
        (MemoryError(), 3, "out-of-memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyError("x"), 4, "bug"),
        (InvariantError("x"), 4, "bug"),
        (OSError(), 4, "bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_kind_of_error_has_its_status(error, status, code, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failure = describe(error)

    assert (failure.status, failure.code) == (status, code)
    assert failure.message
    assert "\n" not in failure.sentence


def test_a_bug_leaves_its_traceback_in_a_file_that_the_sentence_names(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        {}["x"]
    except KeyError as error:
        failure = describe(error)
    named = re.search(r"\S*tally-bug-\S*", failure.hint)

    assert named is not None
    assert "KeyError" in Path(named[0].rstrip(")")).read_text(encoding="utf-8")


def test_a_bug_is_told_even_where_nothing_can_be_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    failure = describe(KeyError("x"))

    assert failure.status == 4
    assert "KeyError" in failure.sentence


def test_json_is_wanted_only_before_a_double_dash():
    assert wants_json(["run", "--json", "x"])
    assert not wants_json(["run", "--", "--json"])
    assert not wants_json(["run"])


def test_help_and_version_are_status_0(tally):
    assert tally("--help").status == 0
    assert tally().status == 0
    assert tally("run", "--help").status == 0
    assert re.match(r"tally \d+\.\d+", tally("--version").out)


def test_the_program_itself_ends_with_the_status(tmp_path):
    status, out, err = execute("run", tmp_path / "none.toml", "--json")

    assert status == 2
    assert json.loads(out)["error"]["code"] == "bad-input"
    assert err == ""


def test_help_loads_no_heavy_module():
    code = (
        "import sys\nfrom tallystick.cli import main\nstatus = main(['--help'])\n"
        "heavy = {'numpy', 'sklearn', 'rich', 'msgspec', 'nacl'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {sorted(heavy)}' if heavy else status)"
    )
    status, _, err = execute_code(code)

    assert err == ""
    assert status == 0


def test_a_reader_that_leaves_early_is_no_error(finished):
    code = (
        "import subprocess, sys\nfrom support.commands import command\n"
        f"first = subprocess.Popen(command('log', {str(finished)!r}), stdout=subprocess.PIPE, "
        "stderr=subprocess.PIPE)\n"
        "first.stdout.readline()\nfirst.stdout.close()\n"
        "sys.stderr.write(first.stderr.read().decode())\nfirst.wait()\n"
    )
    _, _, err = execute_code(code)

    assert err == ""


def test_text_that_the_terminal_cannot_show_is_escaped(finished):
    status, out, _ = execute("log", finished, PYTHONIOENCODING="ascii", LC_ALL="C")

    assert status == 0
    assert out.isascii()


def test_errors_of_verbs_do_not_end_the_calling_program(capfd):
    assert main(["verify", "nowhere", "--genesis", "0" * 64]) == 2
    assert capfd.readouterr().err


def execute_code(code):
    found = environment()
    found["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=found, check=False
    )
    return done.returncode, done.stdout, done.stderr
