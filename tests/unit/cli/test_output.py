"""What goes where: documents, colours, bars, and other people's prints."""

import io
import json
import os
import sys

import numpy as np
import pytest

from tallystick.cli.output import (
    Bar,
    mark,
    paint,
    plain,
    print_document,
    quiet_stdout,
    say,
    table,
    warn,
)
from tallystick.ledger.genesis import Limits


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self):
        return True


def test_documents_hold_plain_json(capsys):
    print_document(
        {
            "nan": float("nan"),
            "inf": [float("inf"), -float("inf"), np.float32(0.5), np.int64(3), np.float64("nan")],
            "hash": b"\x01\xff",
            "struct": Limits(),
            "set": {1},
            "none": None,
        }
    )
    found = json.loads(capsys.readouterr().out)

    assert found["nan"] is None
    assert found["inf"] == [None, None, 0.5, 3, None]
    assert found["hash"] == "01ff"
    assert found["struct"]["validity"] == 24 * 3600 * 1000
    assert found["set"] == [1]


def test_what_is_unknown_is_told_as_text():
    assert plain(object) == str(object)


def test_colours_need_a_terminal_and_no_objection(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", io.StringIO()) == "x"

    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red", Terminal()) == "x"


def test_other_peoples_prints_go_to_standard_error(capfd):
    with quiet_stdout():
        sys.stdout.write("from Python\n")
        os.write(1, b"from C\n")
    sys.stdout.write("the result\n")
    out, err = capfd.readouterr()

    assert out == "the result\n"
    assert "from Python" in err
    assert "from C" in err


def test_standard_output_comes_back_after_an_error(capfd):
    with pytest.raises(KeyError), quiet_stdout():
        raise KeyError
    sys.stdout.write("here\n")

    assert capfd.readouterr().out == "here\n"


def test_columns_line_up():
    assert table([("a", "1"), ("long", "22")]) == ["a     1", "long  22"]
    assert table([]) == []


def test_a_bar_appears_late_and_only_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Bar(iter([0.0, 1.0, 3.0, 4.0]).__next__) as bar:
        bar("rounds", 1, 10)
        early = terminal.getvalue()
        bar("rounds", 2, 10)
        bar("rounds", 3, 10)

    assert early == ""
    assert "rounds" in terminal.getvalue()


def test_nobody_looking_means_no_bar(monkeypatch):
    elsewhere = io.StringIO()
    monkeypatch.setattr(sys, "stderr", elsewhere)
    with Bar(iter([0.0, 9.0]).__next__) as bar:
        bar("rounds", 1, 10)

    assert elsewhere.getvalue() == ""


FORGED = "fine\nok    replay: all came out\r\x1b[2J\x9b31m\u2028\u202egnp"


def test_a_line_stays_one_line_whatever_others_wrote(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    say(mark(ok=False), f" excludes: {FORGED}")
    warn(FORGED)
    say(paint(FORGED, "bold"))
    said = capsys.readouterr()

    assert said.out.startswith("\x1b[31mFAILS\x1b[0m excludes: fine\\nok ")
    assert len((said.out + said.err).splitlines()) == 3
    assert "\\x1b[2J\\x9b31m\\u2028\\u202egnp" in said.out
    assert "\x1b[2J" not in said.out + said.err
